#include "surroundings.h"

#include <errno.h>
#include <linux/rtnetlink.h>

static bool is_host(const struct netlink_prefix *prefix) {
  return prefix->length == (prefix->family == 4 ? 32 : 128);
}

static void network_add(void *context, uint32_t ifindex, const struct netlink_prefix *prefix) {
  struct surroundings *found = context;

  if (ifindex == found->own || is_host(prefix)) return;
  const struct netlink_prefix network = netlink_prefix_shortened(prefix, prefix->length);
  for (size_t i = 0; i < found->network_count; i++)
    if (netlink_prefix_contains(&found->networks[i].prefix, &network)) return;
  if (found->network_count == SURROUNDINGS_MAX_NETWORKS) {
    found->overflow = true;
    return;
  }
  found->networks[found->network_count++] =
      (struct connected){.prefix = network, .ifindex = ifindex};
}

static void gateways_add(void *context, const struct netlink_route *route) {
  struct surroundings *found = context;

  if (route->destination.length != 0 || route->ifindex == found->own) return;
  if (route->has_more_gateways) found->overflow = true;
  for (size_t hop = 0; hop < route->gateway_count; hop++) {
    size_t at = 0;
    while (at < found->gateway_count &&
           !netlink_prefix_equal(&found->gateways[at].address, &route->gateways[hop]))
      at++;
    if (at < found->gateway_count) continue;
    if (found->gateway_count == SURROUNDINGS_MAX_GATEWAYS) {
      found->overflow = true;
      return;
    }
    found->gateways[found->gateway_count++] =
        (struct gateway){.address = route->gateways[hop], .covered = -1};
  }
}

static void gateways_cover(void *context, const struct netlink_route *route) {
  struct surroundings *found = context;
  const struct netlink_prefix *destination = &route->destination;

  if (destination->length == 0 || route->table != RT_TABLE_MAIN || route->tos != 0) return;
  if (route->ifindex == found->own || route->type != RTN_UNICAST) return;
  for (size_t i = 0; i < found->gateway_count; i++) {
    struct gateway *gateway = &found->gateways[i];
    if (netlink_prefix_contains(destination, &gateway->address) &&
        destination->length > gateway->covered)
      gateway->covered = destination->length;
  }
}

int surroundings_read(struct surroundings *surroundings, struct netlink *netlink, uint32_t own) {
  *surroundings = (struct surroundings){.own = own};
  int result = 0;
  for (int family = 4; family <= 6 && result == 0; family += 2) {
    result = netlink_each_address(netlink, family, network_add, surroundings);
    if (result == 0)
      result = netlink_each_route(netlink, family, RTPROT_UNSPEC, gateways_add, surroundings);
  }
  for (int family = 4; family <= 6 && result == 0; family += 2)
    result = netlink_each_route(netlink, family, RTPROT_UNSPEC, gateways_cover, surroundings);
  if (result == 0 && surroundings->overflow) result = -EOVERFLOW;
  return result;
}
