/** Kinds of values that completion can find on this machine. */
export type ValueKind =
  | 'file'
  | 'directory'
  /** `[user@]host[:port]`, of ssh_config and known_hosts. */
  | 'host'
  /** Several of them, with commas. */
  | 'hops'
  /** Of clouds.yaml. */
  | 'cloud'
  /** Of the configuration file. */
  | 'profile'
  /** A running tunnel. */
  | 'tunnel'
  /** What may be reached: anything; `@` begins the name of a file. */
  | 'target'
  | 'none';
