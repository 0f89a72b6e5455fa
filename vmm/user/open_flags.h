/* open(2) flags between the two ABIs: DIRECTORY, NOFOLLOW, DIRECT and LARGEFILE have other values. */
#ifndef PIPIT_USER_OPEN_FLAGS_H
#define PIPIT_USER_OPEN_FLAGS_H

#include <stdint.h>

uint64_t user_open_flags_to_host(uint64_t guest);
uint64_t user_open_flags_to_guest(uint64_t host);

#endif
