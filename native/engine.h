/*
 * engine.h - the thread between the TUN and the packet engine.
 *
 * The thread owns the descriptor and the struct nat. It reads frames, lets nat.c decide, writes back. The program's
 * thread talks to it through two queues under one mutex:
 *
 *   program -> engine   commands (open, refuse, close), with an eventfd that wakes the thread when the queue was empty
 *   engine -> program   events (nat_event), with a callback that is called once until the events have been taken
 *
 * so that neither side is woken per packet or per flow while the other one is busy. A bulk transfer never touches the
 * queues.
 *
 * UDP datagrams, where the program carries them, wait for it in a buffer of ENGINE_DATAGRAM_BYTES beside the events (beyond:
 * dropped and counted); what it sends is written to the device at once, on its own thread.
 */
#ifndef TUNNEL_ENGINE_H
#define TUNNEL_ENGINE_H

#include "datagram.h"
#include "nat.h"

struct engine;

/* Datagrams not yet taken, with their headers. At least one of the longest. */
#define ENGINE_DATAGRAM_BYTES 262144u

/* Called on the engine's thread: error 0: events wait; otherwise errno: the device is gone and the thread has ended. */
typedef void (*engine_wake)(void *context, int error);

enum engine_operation { ENGINE_OPEN, ENGINE_REFUSE, ENGINE_CLOSE };

struct engine_command {
  uint64_t flow;
  enum engine_operation operation;
  enum nat_refusal refusal;
};

struct engine_counters {
  struct nat_counters nat;
  uint64_t write_errors; /* frames that the device did not take */
  uint64_t datagrams_in, datagrams_dropped;
};

/*
 * Starts the thread on `fd`, a TUN with IFF_VNET_HDR; the engine closes it when it stops, and also when starting fails.
 * With `datagrams` the program gets all UDP. NULL and *error (errno) when memory or a thread can't be had. From then on both threads,
 * the engine's and the caller's, run as SCHED_BATCH, unless somebody chose another policy; what the caller starts later inherits it.
 */
struct engine *engine_start(int fd, const struct nat_config *config, bool datagrams, engine_wake wake, void *context,
                            int *error);

/* Never blocks for longer than a queue operation. False when memory for the queue can't be had: the command is lost. */
bool engine_submit(struct engine *engine, const struct engine_command *command);

/* Takes up to `capacity` events; when fewer are returned, the callback is armed again. */
size_t engine_take_events(struct engine *engine, struct nat_event *events, size_t capacity);

/* Takes all datagrams that wait: each a struct datagram and its payload, padded to 8 bytes. Returns the bytes filled. */
size_t engine_take_datagrams(struct engine *engine, uint8_t into[ENGINE_DATAGRAM_BYTES]);

/*
 * Called where engine_stop() is. Send a datagram to the application, or answer one of its with an ICMP error. What the device
 * doesn't take is lost, as datagrams may be.
 */
void engine_send_datagram(struct engine *engine, const struct datagram *datagram, const uint8_t *payload);
void engine_refuse_datagram(struct engine *engine, const struct datagram *datagram, const uint8_t *payload,
                            enum packet_unreachable why);

void engine_read_counters(struct engine *engine, struct engine_counters *counters);

/* Ends the thread, closes the device, frees everything. */
void engine_stop(struct engine *engine);

#endif
