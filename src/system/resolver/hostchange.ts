/** A change to this machine that outlives neither the program nor a crash of it. */
export interface HostChange {
  /** What is changed, for messages: "the resolver settings of tun0 in systemd-resolved". */
  describe(): string;
  /** Makes the change. Rejects with TunnelError when it can't be made; then nothing is changed. */
  apply(): Promise<void>;
  /** Takes it back. May be called more than once, and before `apply`. */
  undo(): Promise<void>;
}
