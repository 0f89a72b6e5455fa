# First cut: every .c outside tools/ and tests/ goes into libpipit.a; tools/NAME.c with a main links to bin NAME.
MODE ?= release
B := build/$(MODE)
SRC := $(shell find vmm devices virtio jit loader arch -name '*.c' | sort)
CFLAGS ?= -O2 -g
CPPFLAGS += -I. -D_GNU_SOURCE
CFLAGS += -std=gnu11 -Wall -Wextra -Werror -pthread -MMD -MP
OBJ := $(SRC:%.c=$(B)/%.o)
all: $(B)/libpipit.a
$(B)/libpipit.a: $(OBJ)
	rm -f $@; ar rcs $@ $^
$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -c $< -o $@
-include $(OBJ:.o=.d)
