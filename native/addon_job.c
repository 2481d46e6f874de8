/*
 * addon_job.c - signals and job control between `tunnel exec` and its command; Node has no calls
 * for these (src/native/addon.ts).
 *
 * Both are in one process group. So a pipeline around them works, and signals from the terminal
 * (INT, QUIT, TSTP, WINCH, HUP) reach the command directly. Signals that are sent to this process
 * alone must be passed on. si_code (sigaction(2)) shows the difference: signals from the terminal
 * come from the kernel, the others from a process. Node's own handlers are replaced in the
 * meantime, so that Ctrl-C is only for the command. The kernel sends one signal to a single
 * process: HUP for a lost terminal, to the session leader. With `ssh -t host tunnel exec ...` this
 * process is the leader instead of the command.
 *
 * TTIN and TTOU stay as they are: the kernel stops a background job that uses the terminal as a
 * whole.
 *
 * Node reports the signal that ended a child by name, but has no names for real-time signals: it
 * reports these as an exit with status 0. So the child's status is read in the handler of SIGCHLD,
 * before libuv reaps it.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "addon.h"

static const int forwarded[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGUSR1, SIGUSR2,
                                SIGALRM, SIGTERM, SIGCONT, SIGTSTP, SIGWINCH};
#define FORWARDED (sizeof forwarded / sizeof *forwarded)

static struct sigaction before[FORWARDED];
static struct sigaction child_before;  /* libuv's handler of SIGCHLD */
static volatile sig_atomic_t command;  /* its pid; 0: no signals are forwarded */
static volatile sig_atomic_t ended_by; /* the signal that ended it; 0: none */
static volatile sig_atomic_t leads;    /* whether this process leads its session */

/*
 * Async-signal-safe (signal-safety(7)). A signal from the command itself, to its whole group, is
 * not passed on.
 */
static void forward(int signal, siginfo_t *info, void *context) {
  (void)context;
  const int error = errno;
  const int alone = info->si_code <= 0 || (signal == SIGHUP && leads);
  if (alone && info->si_pid != command) (void)kill(command, signal);
  errno = error;
}

/* With WNOWAIT waitid(2) doesn't reap the child, so libuv, called below, still can. */
static void note_end(int signal, siginfo_t *info, void *context) {
  const int error = errno;
  siginfo_t status = {.si_pid = 0};

  if (waitid(P_PID, (id_t)command, &status, WEXITED | WNOHANG | WNOWAIT) == 0 &&
      status.si_pid == command && (status.si_code == CLD_KILLED || status.si_code == CLD_DUMPED))
    ended_by = status.si_status;
  errno = error;
  if ((child_before.sa_flags & SA_SIGINFO) != 0)
    child_before.sa_sigaction(signal, info, context);
  else if (child_before.sa_handler != SIG_DFL && child_before.sa_handler != SIG_IGN)
    child_before.sa_handler(signal);
}

static void restore_all(void) {
  (void)sigaction(SIGCHLD, &child_before, NULL);
  for (size_t i = 0; i < FORWARDED; i++) (void)sigaction(forwarded[i], &before[i], NULL);
  command = 0;
}

static napi_value forward_signals_js(napi_env env, napi_callback_info info) {
  struct sigaction action = {.sa_sigaction = forward, .sa_flags = SA_SIGINFO | SA_RESTART};
  napi_value argv[1];
  size_t argc = 1;
  int32_t pid;

  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 1 ||
      napi_get_value_int32(env, argv[0], &pid) != napi_ok || pid < 0) {
    napi_throw_type_error(env, NULL, "forwardSignals(pid, or 0)");
    return NULL;
  }
  if (command != 0) restore_all();
  if (pid == 0) return NULL;
  command = pid;
  ended_by = 0;
  leads = getsid(0) == getpid();
  sigfillset(&action.sa_mask);
  struct sigaction child = {
      .sa_sigaction = note_end, .sa_flags = SA_SIGINFO | SA_RESTART, .sa_mask = action.sa_mask};
  (void)sigaction(SIGCHLD, &child, &child_before);
  for (size_t i = 0; i < FORWARDED; i++) (void)sigaction(forwarded[i], &action, &before[i]);
  return NULL;
}

/* The signal that stopped the child. Each stop is returned once; 0: none. */
static napi_value child_stopped_js(napi_env env, napi_callback_info info) {
  siginfo_t status = {.si_pid = 0};
  napi_value argv[1], result;
  size_t argc = 1;
  int32_t pid;

  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 1 ||
      napi_get_value_int32(env, argv[0], &pid) != napi_ok || pid <= 0) {
    napi_throw_type_error(env, NULL, "childStopped(pid)");
    return NULL;
  }
  int stopped = waitid(P_PID, (id_t)pid, &status, WSTOPPED | WNOHANG) == 0 && status.si_pid == pid;
  return napi_create_int32(env, stopped ? status.si_status : 0, &result) == napi_ok ? result : NULL;
}

/* The signal that ended the command since forward_signals_js; 0: none, or it runs. */
static napi_value command_ended_by_js(napi_env env, napi_callback_info info) {
  napi_value result;
  (void)info;
  return napi_create_int32(env, ended_by, &result) == napi_ok ? result : NULL;
}

/*
 * Stops this process with the signal's default action, and returns when it is continued. raise(3)
 * sends the signal to this thread, which stops before raise returns. So the handler isn't restored
 * too early.
 */
static napi_value stop_self_js(napi_env env, napi_callback_info info) {
  struct sigaction stop = {.sa_handler = SIG_DFL}, ours;
  napi_value argv[1];
  size_t argc = 1;
  int32_t signal;

  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 1 ||
      napi_get_value_int32(env, argv[0], &signal) != napi_ok ||
      (signal != SIGTSTP && signal != SIGSTOP && signal != SIGTTIN && signal != SIGTTOU)) {
    napi_throw_type_error(env, NULL, "stopSelf(a signal that stops)");
    return NULL;
  }
  if (signal == SIGSTOP) {
    (void)raise(SIGSTOP);
    return NULL;
  }
  (void)sigaction(signal, &stop, &ours);
  (void)raise(signal);
  (void)sigaction(signal, &ours, NULL);
  return NULL;
}

/*
 * Ends the process at once. Node's own exit restores the terminal's settings from when Node
 * started: it would undo the command's changes (stty), and disturb the program that has the
 * terminal by then.
 */
static napi_value leave_js(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  size_t argc = 1;
  int32_t status;

  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 1 ||
      napi_get_value_int32(env, argv[0], &status) != napi_ok) {
    napi_throw_type_error(env, NULL, "leave(status)");
    return NULL;
  }
  _exit(status);
}

const struct addon_function addon_job_functions[] = {
    {"forwardSignals", forward_signals_js},
    {"childStopped", child_stopped_js},
    {"commandEndedBy", command_ended_by_js},
    {"stopSelf", stop_self_js},
    {"leave", leave_js},
    {NULL, NULL},
};
