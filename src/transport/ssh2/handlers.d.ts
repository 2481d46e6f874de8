/** A table of ssh2's own, for which it has no types; only internals.ts knows it. */
declare module 'ssh2/lib/protocol/handlers.js' {
  /**
   * By the number of the message, of all connections. The first argument is the connection's
   * protocol object.
   */
  const handlers: (((protocol: object, payload: Buffer) => unknown) | undefined)[];
  export default handlers;
}
