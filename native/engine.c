/* engine.c - the thread between the TUN and the packet engine. How it works: engine.h. */
#include "engine.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
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
  uint64_t write_errors;

  int wake_fd;
  pthread_t thread;
  engine_wake wake;
  void *context;

  pthread_mutex_t mutex; /* guards all below */
  struct command_queue submitted, running; /* swapped, so that commands run without the mutex */
  struct nat_event *events;                /* a ring of ENGINE_EVENTS */
  size_t events_head, events_count;
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
  if (engine->events_count > 0 && !engine->woken) {
    engine->woken = true;
    call = true;
  }
  engine->counters.nat = *nat_get_counters(engine->nat);
  engine->counters.write_errors = engine->write_errors;
  pthread_mutex_unlock(&engine->mutex);
  if (call) engine->wake(engine->context, 0);
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

static void *engine_thread(void *argument) {
  struct engine *engine = argument;
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
  free(engine->submitted.items);
  free(engine->running.items);
  pthread_mutex_destroy(&engine->mutex);
  free(engine);
}

struct engine *engine_start(int fd, const struct nat_config *config, engine_wake wake, void *context, int *error) {
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
  *error = 0;
  const int flags = fcntl(fd, F_GETFL);
  if (engine->wake_fd < 0 || flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) *error = errno;
  if (engine->frame == NULL || engine->events == NULL || engine->nat == NULL) *error = ENOMEM;
  if (*error == 0) *error = pthread_create(&engine->thread, NULL, engine_thread, engine);
  if (*error == 0) return engine;
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
