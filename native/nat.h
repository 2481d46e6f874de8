/*
 * nat.h - the packet engine: pure, no system calls, no clock of its own, no allocation after nat_new().
 *
 * An application connects to a captured destination; the kernel routes its SYN into the TUN. The engine holds the
 * SYN, leases the flow an address and port on its own side (the "lease": virtual peer address + port) and reports
 * NAT_EVENT_SYN. When the far side has connected, nat_open() rewrites the held SYN
 *
 *     app A:a -> D:d    becomes    peer P:p -> listener L:l
 *
 * and the kernel's own TCP completes the handshake with our listening socket. From then on both directions are
 * header rewrites in place:
 *
 *     A:a -> D:d   =>  P:p -> L:l        (application to listener)
 *     L:l -> P:p   =>  D:d -> A:a        (listener to application)
 *
 * A frame is a struct virtio_net_hdr (10 bytes, as with IFF_VNET_HDR) followed by an IPv4 or IPv6 packet.
 */
#ifndef TUNNEL_NAT_H
#define TUNNEL_NAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NAT_VNET_HDR_LEN 10u
/* The longest frame: header, the largest IP packet. A buffer of this size is right for every function here. */
#define NAT_FRAME_CAPACITY (NAT_VNET_HDR_LEN + 65535u + 64u)
/* A buffer for nat_open(), nat_refuse() and nat_due() must hold this much (ICMPv6 answers fill 1280 bytes). */
#define NAT_ANSWER_CAPACITY (NAT_VNET_HDR_LEN + 1280u)

/*
 * Limits. Each has a counter in nat_counters and a defined answer. (The tests build with smaller ones to reach them.)
 */
#define NAT_PEERS 4u                   /* virtual peer addresses a family */
#define NAT_FIRST_PORT 1024u           /* leases use ports 1024-65535 of each peer */
#ifndef NAT_PORTS_PER_PEER
#define NAT_PORTS_PER_PEER (65536u - NAT_FIRST_PORT)
#endif
#define NAT_MAX_FLOWS (NAT_PEERS * NAT_PORTS_PER_PEER) /* leases, of either family; beyond: SYN dropped */
#ifndef NAT_MAX_PENDING
#define NAT_MAX_PENDING 4096u          /* held SYNs; beyond: SYN dropped, so the application's kernel tries again */
#endif
#ifndef NAT_MAX_EVENTS
#define NAT_MAX_EVENTS 16384u          /* events not yet taken, and room for the NAT_EVENT_GONE of every flow that
                                          waits; beyond: the SYN that would make one is dropped */
#endif
#define NAT_SYN_MAX 128u               /* longest SYN packet that is held (without virtio header) */

/* Times, in milliseconds. */
#define NAT_LINGER_MS 65000u           /* lease kept after FIN/FIN or close: Linux TIME_WAIT (60 s) and a margin */
#define NAT_FLUSH_LINGER_MS 150000u    /* after nat_close() until the listener's FIN: its kernel may still be
                                          sending, and probes a closed window at least every 120 s (TCP_RTO_MAX) */
#define NAT_RESET_LINGER_MS 2000u      /* lease kept after RST */
#define NAT_ANSWER_DELAY_MS 5u         /* an ICMP answer comes at least this long after the SYN: the kernel drops one
                                          that arrives while connect() still holds the socket (LockDroppedIcmps) */
#define NAT_REFUSED_MS 3000u           /* a refused flow is remembered, so that a SYN retransmit is answered again */
#define NAT_SYN_SILENCE_MS 4000u       /* without a SYN for this long, and for ... */
#define NAT_SYN_SILENCE_GAPS 3u        /* ... this many times the longest gap between its SYNs: see nat.c */
#define NAT_SWEEP_MS 1000u             /* flows are expired at most this often, so up to this much late */

struct nat_config {
  uint8_t listen4[4], peer4[4];        /* peers are peer4, peer4+1, ... peer4+NAT_PEERS-1 (last octet) */
  uint8_t listen6[16], peer6[16];      /* likewise, last octet */
  uint16_t listen_port4, listen_port6; /* host order; 0: the family is not captured: its SYNs are answered as
                                          prohibited (and its addresses may be zero) */
  uint64_t hash_seed[2];               /* random: flows must not be made to collide */
};

enum nat_refusal {
  NAT_REFUSE_RESET = 0,                /* RST|ACK */
  NAT_REFUSE_HOST = 1,                 /* ICMP 3/1,  ICMPv6 1/3 */
  NAT_REFUSE_NETWORK = 2,              /* ICMP 3/0,  ICMPv6 1/0 */
  NAT_REFUSE_PROHIBITED = 3,           /* ICMP 3/13, ICMPv6 1/1 */
  NAT_REFUSE_SILENT = 4,               /* nothing; retransmits of the same SYN are dropped */
};

enum nat_event_kind {
  NAT_EVENT_SYN = 1,                   /* a new flow waits for nat_open() or nat_refuse() */
  NAT_EVENT_GONE = 2,                  /* the application gave up a flow that waits or that the listener has not
                                          accepted, or reset an established one: an accepted socket learns that by
                                          itself, but one that is reset before accept() has no peer name any more */
};

/* 56 bytes, no padding: handed to JavaScript as it is. Ports in host order, IPv4 addresses in the first 4 octets. */
struct nat_event {
  uint64_t flow;                       /* handle: below 2^52, never reused (slot + generation) */
  uint8_t kind;
  uint8_t family;                      /* 4 or 6 */
  uint16_t lease_port;                 /* the accepted socket's remote port ... */
  uint16_t source_port;
  uint16_t destination_port;
  uint8_t source[16];                  /* (16..31) */
  uint8_t destination[16];             /* (32..47) */
  uint8_t lease_peer;                  /* (48) ... and remote address: peer address + lease_peer */
  uint8_t reserved[7];
};
_Static_assert(sizeof(struct nat_event) == 56, "nat_event is read by JavaScript with fixed offsets");

/* frames_in == frames_forwarded + frames_answered + frames_held + the sum of dropped[] at every moment. */
enum nat_drop {
  NAT_DROP_MALFORMED,                  /* too short, wrong version, lengths that disagree */
  NAT_DROP_FRAGMENT,
  NAT_DROP_MULTICAST,                  /* multicast and broadcast are never answered */
  NAT_DROP_UNANSWERABLE,               /* ICMP errors, RSTs without a flow, sources that can't be answered
                                          (RFC 1122 3.2.2) */
  NAT_DROP_RETRANSMIT,                 /* SYN of a flow that waits */
  NAT_DROP_PENDING_LIMIT,
  NAT_DROP_FLOW_LIMIT,
  NAT_DROP_EVENT_LIMIT,
  NAT_DROP_SYN_TOO_LONG,
  NAT_DROP_SILENT,                     /* held or repeated SYN of a flow refused as NAT_REFUSE_SILENT */
  NAT_DROP_GIVEN_UP,                   /* held SYN of a flow that the application or nat_close() gave up */
  NAT_DROP_REASONS
};

struct nat_counters {
  uint64_t frames_in, frames_forwarded, frames_answered;
  uint64_t frames_held;                /* now: held SYNs and delayed answers */
  uint64_t dropped[NAT_DROP_REASONS];
  uint64_t answered_reset, answered_unreachable, answered_prohibited, answered_port_unreachable;
  uint64_t bytes_to_listener, bytes_to_application; /* IP packet bytes forwarded */
  uint64_t flows_held_total, flows_opened_total, flows_refused_total, flows_gone_total; /* gone: NAT_EVENT_GONE */
  uint32_t flows_live;                 /* opened, not yet lingering */
  uint32_t flows_pending;
  uint32_t flows_lingering;
};

struct nat;

/* NULL when memory can't be had. Memory is reserved here and touched only as flows need it. */
struct nat *nat_new(const struct nat_config *config);
void nat_free(struct nat *nat);

/*
 * Handles one frame read from the TUN. `frame` has room for NAT_ANSWER_CAPACITY bytes at least; `length` are filled.
 * Returns the length of the frame to write back, which replaces it in the same buffer; 0 when there is none.
 */
size_t nat_input(struct nat *nat, uint8_t *frame, size_t length, uint64_t now_ms);

/* The far side has connected: returns the length of the rewritten SYN in `out`, 0 if the flow is gone. */
size_t nat_open(struct nat *nat, uint64_t flow, uint8_t *out, uint64_t now_ms);

/* Returns the length of the answer in `out`, 0 if it is silence, delayed (see nat_due) or the flow is gone. */
size_t nat_refuse(struct nat *nat, uint64_t flow, enum nat_refusal refusal, uint8_t *out, uint64_t now_ms);

/*
 * The listener's socket is closed, or the flow will not be opened. Every flow that was opened is to be closed by this.
 * The lease lingers; unknown flows are ignored.
 */
void nat_close(struct nat *nat, uint64_t flow, uint64_t now_ms);

/*
 * Expires what is due; returns the length of the next delayed answer in `out`, 0 when nothing more is due. Call it
 * until then.
 */
size_t nat_due(struct nat *nat, uint8_t *out, uint64_t now_ms);

/* When nat_due() has to be called next, in the clock of now_ms; UINT64_MAX: not until another call. */
uint64_t nat_deadline(const struct nat *nat);

/* Takes the oldest event; false when there is none. */
bool nat_next_event(struct nat *nat, struct nat_event *event);

const struct nat_counters *nat_get_counters(const struct nat *nat);

#endif
