/** Kinds of values whose names completion finds on this machine (completion/names.ts). */
export type NamedKind =
  /** `[user@]host[:port]`, of ssh_config and known_hosts. */
  | 'host'
  /** Several of them, with commas. */
  | 'hops'
  /** Of clouds.yaml. */
  | 'cloud'
  /** Of config.yaml. */
  | 'profile'
  /** Running ones. */
  | 'tunnel';

export type ValueKind =
  | NamedKind
  | 'file'
  | 'directory'
  /** What may be reached: anything; `@` begins the name of a file. */
  | 'target'
  | 'none';
