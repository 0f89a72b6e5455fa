/* Names and texts of error numbers. */
#include "vmm/user/sys/sys.h"

struct error {
    const char *name, *text;
};

#define ERROR(nr, errno_name, what) [nr] = {#errno_name, what},
static const struct error errors[] = {
#include "vmm/user/sys/errors.def"
};
#undef ERROR

static const struct error *find(int nr)
{
    static const struct error unknown = {"", "Unknown error"};

    return nr > 0 && nr < (int)(sizeof(errors) / sizeof(errors[0])) && errors[nr].name ? &errors[nr] : &unknown;
}

const char *sys_error_name(int nr)
{
    return find(nr)->name;
}

const char *sys_error_text(int nr)
{
    return find(nr)->text;
}
