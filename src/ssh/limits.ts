/** Limits of one SSH connection, in every implementation. */

/** Channels. Well below the 16k or so at which OpenSSH's sshd drops the connection. */
export const MAX_CHANNELS = 8192;

/**
 * Seconds, about eleven days: longer times in ssh_config are cut to this. ssh itself has such a
 * limit too. A timer of Node that should wait for more than 2^31-1 ms fires at once, and some
 * timers wait for several of these times together.
 */
export const LONGEST_SECONDS = 1_000_000;

/** Bytes of one flow that may be on their way here or wait for its reader; --max-window. */
export const DEFAULT_MAX_WINDOW = 32 * 1024 * 1024;
/** The same for all flows of a link together; --window-budget. */
export const DEFAULT_WINDOW_BUDGET = 256 * 1024 * 1024;
