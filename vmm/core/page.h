/* Flags of a 4 KiB page of guest RAM: one atomic byte each, shared by memory, devices and the JIT. */
#ifndef PIPIT_CORE_PAGE_H
#define PIPIT_CORE_PAGE_H

#define MEM_PAGE_CODE 0x01     /* translations were made from this page: writes must take the slow path */
#define MEM_PAGE_WRITABLE 0x02 /* some vCPU may hold a fast write mapping of this page */
#define MEM_PAGE_DIRTY 0x04    /* written since the dirty log was last read */
#define MEM_PAGE_ROM 0x08      /* guests' writes are a device's: never fast write access */

#endif
