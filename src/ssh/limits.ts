/** What holds for one SSH connection, whoever speaks it. */

/** Channels. Well below the 16k or so at which OpenSSH's sshd drops the connection. */
export const MAX_CHANNELS = 8192;

/**
 * Seconds, eleven days: what ssh_config gives more time is given so much, as ssh itself has an end
 * there. Timers of Node that are to wait for more than 2^31-1 ms, also several such times together,
 * would fire at once.
 */
export const LONGEST_SECONDS = 1_000_000;

/** Bytes that one flow may have under way to here, or waiting for its reader; --max-window. */
export const DEFAULT_MAX_WINDOW = 32 * 1024 * 1024;
/** The same for all flows of a link together; --window-budget. */
export const DEFAULT_WINDOW_BUDGET = 256 * 1024 * 1024;
