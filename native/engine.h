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
 */
#ifndef TUNNEL_ENGINE_H
#define TUNNEL_ENGINE_H

#include "nat.h"

struct engine;

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
};

/*
 * Starts the thread on `fd`, a TUN with IFF_VNET_HDR; the engine closes it when it stops, and also when starting fails.
 * NULL and *error (errno) when memory or a thread can't be had.
 */
struct engine *engine_start(int fd, const struct nat_config *config, engine_wake wake, void *context, int *error);

/* Never blocks for longer than a queue operation. False when memory for the queue can't be had: the command is lost. */
bool engine_submit(struct engine *engine, const struct engine_command *command);

/* Takes up to `capacity` events; when fewer are returned, the callback is armed again. */
size_t engine_take_events(struct engine *engine, struct nat_event *events, size_t capacity);

void engine_read_counters(struct engine *engine, struct engine_counters *counters);

/* Ends the thread, closes the device, frees everything. */
void engine_stop(struct engine *engine);

#endif
