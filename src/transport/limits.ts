/** What holds for one SSH connection, whoever speaks it. */

/** Channels. Well below the 16k or so at which OpenSSH's sshd drops the connection. */
export const MAX_CHANNELS = 8192;
