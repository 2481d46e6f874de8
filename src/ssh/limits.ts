/** What holds for one SSH connection, whoever speaks it. */

/** Channels. Well below the 16k or so at which OpenSSH's sshd drops the connection. */
export const MAX_CHANNELS = 8192;

/** Bytes that one flow may have under way to here, or waiting for its reader; --max-window. */
export const DEFAULT_MAX_WINDOW = 32 * 1024 * 1024;
/** The same for all flows of a link together; --window-budget. */
export const DEFAULT_WINDOW_BUDGET = 256 * 1024 * 1024;
