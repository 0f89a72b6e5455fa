/* The commands on machines that run, or have run: ps, pause, resume, stop, rm, console, ssh. */
#ifndef PIPIT_SERVICE_LIFE_COMMANDS_H
#define PIPIT_SERVICE_LIFE_COMMANDS_H

#include <stdbool.h>

#include "vmm/base/err.h"

bool life_command_known(const char *name);
/* argv[0] is the command. The exit status: 0, 1 failed, 2 wrong usage; what ssh says. */
int life_command(int argc, char **argv);
void life_print_help(void);

/* The rest is between the files of the commands. Each takes the words behind the command. */
int life_ps(int argc, char **argv);
int life_pause(int argc, char **argv);
int life_resume(int argc, char **argv);
int life_stop(int argc, char **argv);
int life_rm(int argc, char **argv);
int life_console(int argc, char **argv);
int life_ssh(int argc, char **argv);
/* Prints the sentence; 1. */
int life_fail(const struct err *e);
/* Prints how the command is used; 2. */
int life_usage(const char *text);
/* Connects, sends `command`, and reads the answer, without its line end, into line[64]; the connection. A server that
 * does not answer within seconds has failed. */
int life_ask(const char *name, const char *command, char line[64], struct err *e);

#endif
