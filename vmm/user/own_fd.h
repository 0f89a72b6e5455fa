/*
 * Descriptors of our own. They have high numbers, and the guest can neither close nor replace them: for it they are not
 * open.
 */
#ifndef PIPIT_USER_OWN_FD_H
#define PIPIT_USER_OWN_FD_H

#include <stdbool.h>
#include <stdint.h>

#define USER_OWN_FDS 4

/* Takes over a descriptor: *fd becomes its new number, closed at exec, and stays true when it has to move again. 0 or
 * -errno, and then the descriptor is as it was. */
int user_own_fd_add(int *fd);
/* Is this number one of them? */
bool user_own_fd_is(uint32_t fd);
/* Closes it, and sets *fd to -1. */
void user_own_fd_close(int *fd);

#endif
