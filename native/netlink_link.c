#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "netlink.h"
#include "netlink_message.h"

int netlink_link_up(struct netlink *netlink, uint32_t ifindex, uint32_t mtu, uint32_t queue) {
  const uint8_t mode = IN6_ADDR_GEN_MODE_NONE;
  struct ifinfomsg body = {.ifi_index = (int)ifindex};
  struct netlink_request request;

  /* This must come before the device is up, or the kernel gives it a link-local address at once. */
  struct nlmsghdr *header = netlink_request_begin(&request, RTM_NEWLINK, 0, &body, sizeof body);
  struct rtattr *families = netlink_attribute(header, IFLA_AF_SPEC | NLA_F_NESTED, NULL, 0);
  struct rtattr *inet6 = netlink_attribute(header, AF_INET6 | NLA_F_NESTED, NULL, 0);
  netlink_attribute(header, IFLA_INET6_ADDR_GEN_MODE, &mode, sizeof mode);
  netlink_attribute_end(header, inet6);
  netlink_attribute_end(header, families);
  int result = netlink_change(netlink, header);
  /* A kernel without IPv6 gives it no such address anyway. */
  if (result < 0 && result != -EAFNOSUPPORT) return result;

  body.ifi_flags = IFF_UP;
  body.ifi_change = IFF_UP;
  header = netlink_request_begin(&request, RTM_NEWLINK, 0, &body, sizeof body);
  netlink_attribute(header, IFLA_MTU, &mtu, sizeof mtu);
  if (queue != 0) netlink_attribute(header, IFLA_TXQLEN, &queue, sizeof queue);
  return netlink_change(netlink, header);
}

/* Whether the attributes of a link say that it is a TUN device that outlives its descriptors. */
static bool is_persistent(const struct rtattr *info) {
  const struct rtattr *parts[IFLA_INFO_DATA + 1], *values[IFLA_TUN_PERSIST + 1];

  if (info == NULL) return false;
  netlink_attributes_parse(parts, IFLA_INFO_DATA + 1, RTA_DATA(info), RTA_PAYLOAD(info));
  const struct rtattr *kind = parts[IFLA_INFO_KIND], *data = parts[IFLA_INFO_DATA];
  if (kind == NULL || data == NULL) return false;
  if (RTA_PAYLOAD(kind) < sizeof "tun" || memcmp(RTA_DATA(kind), "tun", sizeof "tun") != 0)
    return false;
  netlink_attributes_parse(values, IFLA_TUN_PERSIST + 1, RTA_DATA(data), RTA_PAYLOAD(data));
  const struct rtattr *value = values[IFLA_TUN_PERSIST];
  return value != NULL && RTA_PAYLOAD(value) >= 1 && *(const uint8_t *)RTA_DATA(value) != 0;
}

static bool link_parse(const struct nlmsghdr *message, struct netlink_link *link) {
  const struct ifinfomsg *body = NLMSG_DATA(message);
  const struct rtattr *table[IFLA_IFALIAS + 1];

  if (message->nlmsg_type != RTM_NEWLINK || message->nlmsg_len < NLMSG_LENGTH(sizeof *body))
    return false;
  *link = (struct netlink_link){.ifindex = (uint32_t)body->ifi_index,
                                .up = (body->ifi_flags & IFF_UP) != 0};
  netlink_attributes_parse(table, IFLA_IFALIAS + 1, IFLA_RTA(body), IFLA_PAYLOAD(message));
  (void)netlink_attribute_text(table[IFLA_IFNAME], link->name, sizeof link->name);
  (void)netlink_attribute_text(table[IFLA_IFALIAS], link->alias, sizeof link->alias);
  link->persistent = is_persistent(table[IFLA_LINKINFO]);
  return true;
}

static void link_read(void *context, const struct nlmsghdr *message) {
  (void)link_parse(message, context);
}

int netlink_link_get(struct netlink *netlink, uint32_t ifindex, struct netlink_link *link) {
  const struct ifinfomsg body = {.ifi_index = (int)ifindex};
  struct netlink_request request;

  *link = (struct netlink_link){.up = false};
  return netlink_converse(
      netlink, netlink_request_begin(&request, RTM_GETLINK, NLM_F_ACK, &body, sizeof body),
      link_read, link);
}

int netlink_link_find(struct netlink *netlink, const char *name, struct netlink_link *link) {
  const struct ifinfomsg body = {.ifi_index = 0};
  struct netlink_request request;

  *link = (struct netlink_link){.up = false};
  struct nlmsghdr *header =
      netlink_request_begin(&request, RTM_GETLINK, NLM_F_ACK, &body, sizeof body);
  netlink_attribute(header, IFLA_IFNAME, name, strlen(name) + 1);
  int result = netlink_converse(netlink, header, link_read, link);
  return result == 0 && link->ifindex == 0 ? -ENODEV : result;
}

struct link_dump {
  netlink_link_function each;
  void *context;
};

static void link_pass(void *context, const struct nlmsghdr *message) {
  const struct link_dump *reader = context;
  struct netlink_link link;

  if (link_parse(message, &link)) reader->each(reader->context, &link);
}

int netlink_each_link(struct netlink *netlink, netlink_link_function each, void *context) {
  struct link_dump reader = {.each = each, .context = context};
  const struct ifinfomsg body = {.ifi_index = 0};
  struct netlink_request request;

  return netlink_dump(netlink,
                      netlink_request_begin(&request, RTM_GETLINK, 0, &body, sizeof body),
                      link_pass, &reader);
}

int netlink_link_set_alias(struct netlink *netlink, uint32_t ifindex, const char *alias) {
  const struct ifinfomsg body = {.ifi_index = (int)ifindex};
  struct netlink_request request;

  struct nlmsghdr *header = netlink_request_begin(&request, RTM_NEWLINK, 0, &body, sizeof body);
  netlink_attribute(header, IFLA_IFALIAS, alias, strlen(alias));
  return netlink_change(netlink, header);
}

int netlink_link_delete(struct netlink *netlink, uint32_t ifindex) {
  const struct ifinfomsg body = {.ifi_index = (int)ifindex};
  struct netlink_request request;

  return netlink_change(
      netlink, netlink_request_begin(&request, RTM_DELLINK, 0, &body, sizeof body));
}
