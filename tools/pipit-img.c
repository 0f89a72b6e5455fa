/* pipit-img: disk images. The commands are in vmm/img. */
#include "vmm/img/img.h"

int main(int argc, char **argv)
{
    return img_main(argc, argv);
}
