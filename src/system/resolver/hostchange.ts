/** A change to this machine that is undone when the program ends, even after a crash. */
export interface HostChange {
  /** What is changed, for messages: "the resolver settings of tun0 in systemd-resolved". */
  describe(): string;
  /** Makes the change. Rejects with TunnelError if that fails; then nothing is changed. */
  apply(): Promise<void>;
  /** Undoes the change. May be called more than once, and before `apply`. */
  undo(): Promise<void>;
}
