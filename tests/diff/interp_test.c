/* The interpreter against user-mode emulation, every row of EL0. */
#include "tests/lib/diff.h"

int main(int argc, char **argv)
{
    static const struct diff_config cfg = {
        .name = "interpreter_against_peer",
        .run = diff_run_interp,
        .against_peer = true,
        .cases = 300,
    };

    return diff_main(argc, argv, &cfg);
}
