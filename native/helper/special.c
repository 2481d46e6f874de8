#include "special.h"

#include <stddef.h>

#define V4(bits, ...) {.family = 4, .length = bits, .address = {__VA_ARGS__}}
#define V6(bits, ...) {.family = 6, .length = bits, .address = {__VA_ARGS__}}

/* From the IANA special-purpose address registries (RFC 6890), and addresses at which clouds serve
 * instance metadata and credentials. */
static const struct special_range special[] = {
    {V4(8, 0), "this network", true},
    {V4(8, 127), "loopback", true},
    {V4(16, 169, 254), "link-local", true},
    {V4(4, 224), "multicast", true},
    {V4(32, 255, 255, 255, 255), "broadcast", true},
    {V6(16, 0), "loopback and embedded IPv4", true},
    {V6(10, 0xfe, 0x80), "link-local", true},
    {V6(8, 0xff), "multicast", true},
    {V4(24, 192, 0, 0), "protocol assignments", false},
    {V4(32, 100, 100, 100, 200), "metadata of Alibaba Cloud", false},
    {V4(32, 168, 63, 129, 16), "metadata of Azure", false},
    {V4(4, 240), "reserved", false},
    {V6(64, 1), "discard-only", false},
    {V6(128, 0xfd, 0, 0x0e, 0xc2, [14] = 0x02, [15] = 0x54), "metadata of EC2", false},
    {V6(128, 0xfd, 0x20, 0, 0xce, [14] = 0x02, [15] = 0x54), "metadata of Google Cloud", false},
    {V6(10, 0xfe, 0xc0), "site-local", false},
};

static const struct netlink_prefix private[] = {
    V4(8, 10), V4(10, 100, 64), V4(12, 172, 16), V4(16, 192, 168), V6(7, 0xfc),
};

const struct special_range *special_find(const struct netlink_prefix *prefix, bool never) {
  for (size_t i = 0; i < sizeof special / sizeof *special; i++)
    if ((special[i].never || !never) && netlink_prefix_overlap(&special[i].prefix, prefix))
      return &special[i];
  return NULL;
}

bool special_is_private(const struct netlink_prefix *prefix) {
  for (size_t i = 0; i < sizeof private / sizeof *private; i++)
    if (netlink_prefix_contains(&private[i], prefix)) return true;
  return false;
}
