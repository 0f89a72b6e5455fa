/* The addresses of the user network, read and checked. Private to devices/net. */
#ifndef PIPIT_DEVICES_NET_USER_ADDRS_H
#define PIPIT_DEVICES_NET_USER_ADDRS_H

#include <netinet/in.h>

#include "devices/net/net.h"

struct user_addrs {
    struct in_addr net, mask, host, dhcpstart, dns;
    struct in6_addr prefix6, host6, dns6, guest6; /* guest6: prefix and EUI-64 of the MAC */
};

#define USER_ADDRS_PREFIX6 64 /* bits; a guest makes its address of that many (RFC 4862, 5.5.3) */

/* -EINVAL with a sentence that names the option and what is wrong with it. */
int user_addrs_parse(struct user_addrs *out, const struct net_user_config *cfg, struct err *e);

#endif
