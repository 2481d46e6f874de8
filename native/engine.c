/* engine.c - the thread between the TUN and the packet engine. How it works: engine.h. */
#include "engine.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* Frames read in a row before commands and timers are looked at again. */
#define ENGINE_BATCH 64
/* Events offered to the program and not yet taken; the rest waits in nat.c, which has its own limit. */
#define ENGINE_EVENTS 4096u
#define ENGINE_FIRST_COMMANDS 256u

struct command_queue {
  struct engine_command *items;
  size_t count, capacity;
};

struct engine {
  /* the engine thread's own */
  int fd;
  struct nat *nat;
  uint8_t *frame;
  uint64_t write_errors, datagrams_in, datagrams_dropped;

  /* the program's thread's own */
  uint8_t *sending; /* a frame; NULL: the program carries no datagrams */

  int wake_fd;
  pthread_t thread;
  engine_wake wake;
  void *context;

  pthread_mutex_t mutex; /* guards all below */
  struct command_queue submitted, running; /* swapped, so that commands run without the mutex */
  struct nat_event *events;                /* a ring of ENGINE_EVENTS */
  size_t events_head, events_count;
  uint8_t *datagrams; /* ENGINE_DATAGRAM_BYTES */
  size_t datagrams_length;
  bool woken; /* the callback has been called and the events have not been taken since */
  bool stopping;
  struct engine_counters counters;
};

static uint64_t clock_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

static void write_frame(struct engine *engine, const uint8_t *frame, size_t length) {
  if (length == 0) return;
  ssize_t written;
  do written = write(engine->fd, frame, length);
  while (written < 0 && errno == EINTR);
  if (written < 0) engine->write_errors++;
}

static void run_command(struct engine *engine, const struct engine_command *command) {
  uint8_t answer[NAT_ANSWER_CAPACITY];
  const uint64_t now = clock_ms();
  switch (command->operation) {
    case ENGINE_OPEN:
      write_frame(engine, answer, nat_open(engine->nat, command->flow, answer, now));
      break;
    case ENGINE_REFUSE:
      write_frame(engine, answer, nat_refuse(engine->nat, command->flow, command->refusal, answer, now));
      break;
    case ENGINE_CLOSE:
      nat_close(engine->nat, command->flow, now);
      break;
  }
}

/* False when the thread is to end. */
static bool run_commands(struct engine *engine) {
  pthread_mutex_lock(&engine->mutex);
  const struct command_queue batch = engine->submitted;
  engine->submitted = engine->running;
  engine->submitted.count = 0;
  engine->running = batch;
  const bool stopping = engine->stopping;
  pthread_mutex_unlock(&engine->mutex);
  for (size_t i = 0; i < batch.count; i++) run_command(engine, &batch.items[i]);
  return !stopping;
}

static void emit_due(struct engine *engine) {
  uint8_t answer[NAT_ANSWER_CAPACITY];
  size_t length;
  while ((length = nat_due(engine->nat, answer, clock_ms())) > 0) write_frame(engine, answer, length);
}

static void publish(struct engine *engine) {
  bool call = false;
  pthread_mutex_lock(&engine->mutex);
  struct nat_event event;
  while (engine->events_count < ENGINE_EVENTS && nat_next_event(engine->nat, &event)) {
    engine->events[(engine->events_head + engine->events_count) % ENGINE_EVENTS] = event;
    engine->events_count++;
  }
  if ((engine->events_count > 0 || engine->datagrams_length > 0) && !engine->woken) {
    engine->woken = true;
    call = true;
  }
  engine->counters.nat = *nat_get_counters(engine->nat);
  engine->counters.write_errors = engine->write_errors;
  engine->counters.datagrams_in = engine->datagrams_in;
  engine->counters.datagrams_dropped = engine->datagrams_dropped;
  pthread_mutex_unlock(&engine->mutex);
  if (call) engine->wake(engine->context, 0);
}

/* Keeps a UDP datagram for the program. False: the frame is none. */
static bool keep_datagram(struct engine *engine, size_t frame_length) {
  struct datagram datagram;
  const uint8_t *payload;
  if (!datagram_take(engine->frame, frame_length, &datagram, &payload)) return false;
  engine->datagrams_in++;
  const size_t length = (sizeof datagram + datagram.length + 7u) & ~(size_t)7u;
  pthread_mutex_lock(&engine->mutex);
  if (length <= ENGINE_DATAGRAM_BYTES - engine->datagrams_length) {
    uint8_t *place = engine->datagrams + engine->datagrams_length;
    memcpy(place, &datagram, sizeof datagram);
    memcpy(place + sizeof datagram, payload, datagram.length);
    engine->datagrams_length += length;
  } else {
    engine->datagrams_dropped++;
  }
  pthread_mutex_unlock(&engine->mutex);
  return true;
}

/* Reads a batch: 0 when the device has no more for now, 1 when it may have more, -errno when it is gone. */
static int read_batch(struct engine *engine) {
  for (int i = 0; i < ENGINE_BATCH; i++) {
    const ssize_t length = read(engine->fd, engine->frame, NAT_FRAME_CAPACITY);
    if (length < 0) {
      if (errno == EINTR) continue;
      return errno == EAGAIN ? 0 : -errno;
    }
    if (length == 0) return -EIO;
    if (engine->sending != NULL && keep_datagram(engine, (size_t)length)) continue;
    write_frame(engine, engine->frame, nat_input(engine->nat, engine->frame, (size_t)length, clock_ms()));
  }
  return 1;
}

static int poll_timeout(const struct engine *engine) {
  const uint64_t deadline = nat_deadline(engine->nat);
  if (deadline == UINT64_MAX) return -1;
  const uint64_t now = clock_ms();
  if (deadline <= now) return 0;
  return deadline - now > 60000u ? 60000 : (int)(deadline - now);
}

/*
 * The calling thread no longer takes the processor from another when it is woken (sched(7), SCHED_BATCH): where all processors are
 * busy, a packet then waits for the next few, and they are carried together. Another policy that somebody chose stays.
 */
static void prefer_batches(void) {
  const struct sched_param none = {.sched_priority = 0};
  if (sched_getscheduler(0) == SCHED_OTHER) (void)sched_setscheduler(0, SCHED_BATCH, &none); /* refused: as before */
}

static void *engine_thread(void *argument) {
  struct engine *engine = argument;
  (void)pthread_setname_np(pthread_self(), "packet engine"); /* for ps and debuggers */
  prefer_batches();
  int error = 0;
  while (run_commands(engine)) {
    const int more = read_batch(engine);
    emit_due(engine);
    publish(engine);
    if (more < 0) {
      error = -more;
      break;
    }
    if (more > 0) continue;
    struct pollfd waiting[2] = {{.fd = engine->fd, .events = POLLIN}, {.fd = engine->wake_fd, .events = POLLIN}};
    if (poll(waiting, 2, poll_timeout(engine)) > 0 && (waiting[1].revents & POLLIN)) {
      uint64_t ignored;
      if (read(engine->wake_fd, &ignored, sizeof ignored) < 0 && errno != EAGAIN) error = errno;
    }
  }
  if (error != 0)
    engine->wake(engine->context, error);
  else
    while (read_batch(engine) > 0) continue; /* the resets of the connections that end with the engine */
  return NULL;
}

static void engine_free(struct engine *engine) {
  if (engine->fd >= 0) close(engine->fd);
  if (engine->wake_fd >= 0) close(engine->wake_fd);
  nat_free(engine->nat);
  free(engine->frame);
  free(engine->events);
  free(engine->datagrams);
  free(engine->sending);
  free(engine->submitted.items);
  free(engine->running.items);
  pthread_mutex_destroy(&engine->mutex);
  free(engine);
}

struct engine *engine_start(int fd, const struct nat_config *config, bool datagrams, engine_wake wake, void *context,
                            int *error) {
  struct engine *engine = calloc(1, sizeof *engine);
  if (engine == NULL) {
    close(fd);
    *error = ENOMEM;
    return NULL;
  }
  pthread_mutex_init(&engine->mutex, NULL);
  engine->fd = fd;
  engine->wake = wake;
  engine->context = context;
  engine->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  engine->frame = malloc(NAT_FRAME_CAPACITY);
  engine->events = malloc(ENGINE_EVENTS * sizeof *engine->events);
  engine->nat = nat_new(config);
  if (datagrams) {
    engine->datagrams = malloc(ENGINE_DATAGRAM_BYTES);
    engine->sending = malloc(NAT_FRAME_CAPACITY);
  }
  *error = 0;
  const int flags = fcntl(fd, F_GETFL);
  if (engine->wake_fd < 0 || flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) *error = errno;
  if (engine->frame == NULL || engine->events == NULL || engine->nat == NULL) *error = ENOMEM;
  if (datagrams && (engine->datagrams == NULL || engine->sending == NULL)) *error = ENOMEM;
  if (*error == 0) *error = pthread_create(&engine->thread, NULL, engine_thread, engine);
  if (*error == 0) {
    prefer_batches();
    return engine;
  }
  engine_free(engine);
  return NULL;
}

static void wake_thread(struct engine *engine) {
  const uint64_t one = 1;
  /* EAGAIN would mean that 2^64-2 wake-ups wait already: the thread wakes up all the same. */
  const ssize_t ignored = write(engine->wake_fd, &one, sizeof one);
  (void)ignored;
}

bool engine_submit(struct engine *engine, const struct engine_command *command) {
  pthread_mutex_lock(&engine->mutex);
  struct command_queue *queue = &engine->submitted;
  if (queue->count == queue->capacity) {
    const size_t capacity = queue->capacity == 0 ? ENGINE_FIRST_COMMANDS : queue->capacity * 2;
    struct engine_command *items = realloc(queue->items, capacity * sizeof *items);
    if (items == NULL) {
      pthread_mutex_unlock(&engine->mutex);
      return false;
    }
    queue->items = items;
    queue->capacity = capacity;
  }
  queue->items[queue->count++] = *command;
  const bool was_empty = queue->count == 1;
  pthread_mutex_unlock(&engine->mutex);
  if (was_empty) wake_thread(engine);
  return true;
}

size_t engine_take_events(struct engine *engine, struct nat_event *events, size_t capacity) {
  pthread_mutex_lock(&engine->mutex);
  size_t taken = 0;
  for (; taken < capacity && engine->events_count > 0; taken++) {
    events[taken] = engine->events[engine->events_head];
    engine->events_head = (engine->events_head + 1) % ENGINE_EVENTS;
    engine->events_count--;
  }
  const bool was_full = engine->events_count + taken == ENGINE_EVENTS;
  if (taken < capacity) engine->woken = false;
  pthread_mutex_unlock(&engine->mutex);
  /* Events that did not fit into the ring wait in nat.c: let the thread publish them. */
  if (was_full && taken > 0) wake_thread(engine);
  return taken;
}

size_t engine_take_datagrams(struct engine *engine, uint8_t into[ENGINE_DATAGRAM_BYTES]) {
  pthread_mutex_lock(&engine->mutex);
  const size_t length = engine->datagrams_length;
  if (length > 0) memcpy(into, engine->datagrams, length);
  engine->datagrams_length = 0;
  pthread_mutex_unlock(&engine->mutex);
  return length;
}

/* A device takes each frame at once or, when it is gone, not at all. */
static void send_frame(const struct engine *engine, size_t length) {
  ssize_t written;
  if (length == 0) return;
  do written = write(engine->fd, engine->sending, length);
  while (written < 0 && errno == EINTR);
}

void engine_send_datagram(struct engine *engine, const struct datagram *datagram, const uint8_t *payload) {
  if (engine->sending != NULL) send_frame(engine, datagram_write(datagram, payload, engine->sending));
}

void engine_refuse_datagram(struct engine *engine, const struct datagram *datagram, const uint8_t *payload,
                            enum packet_unreachable why) {
  if (engine->sending != NULL) send_frame(engine, datagram_refuse(datagram, payload, why, engine->sending));
}

void engine_read_counters(struct engine *engine, struct engine_counters *counters) {
  pthread_mutex_lock(&engine->mutex);
  *counters = engine->counters;
  pthread_mutex_unlock(&engine->mutex);
}

void engine_stop(struct engine *engine) {
  pthread_mutex_lock(&engine->mutex);
  engine->stopping = true;
  pthread_mutex_unlock(&engine->mutex);
  wake_thread(engine);
  pthread_join(engine->thread, NULL);
  engine_free(engine);
}
