/** The options of `openTunnel()`. configure.ts reads them. */
import type { Fields, Level } from '../observe/observer.ts';
import type { Prompt } from './prompt.ts';

type Texts = string | readonly string[];

/** Times are in seconds, sizes in bytes. What is left out is as on the command line. */
export interface OpenTunnelOptions {
  /**
   * The jump host: `[user@]host[:port]`, `ssh://user@host:port`, or a Host alias of ssh_config.
   * Several: addresses of the same jump host, tried in order.
   */
  readonly remote: Texts;
  /** Port of the jump host, unless `remote` has one. */
  readonly port?: number | undefined;
  /** Files of private keys. Default: the agent and `~/.ssh/id_*`. */
  readonly identity?: Texts | undefined;
  /** Hosts to connect through: `a,user@b:2222`. `none`: not even those of ssh_config. */
  readonly jump?: string | undefined;
  /**
   * Host keys that are accepted, and no others: `SHA256:...` or `ssh-ed25519 AAAA...`. Default:
   * known_hosts decides.
   */
  readonly hostKey?: Texts | undefined;
  /** Read instead of `~/.ssh/config`. `none`: no file. */
  readonly config?: string | undefined;
  /** Lines of ssh_config, as `Keyword=value`. They come before those of the files. */
  readonly sshOptions?: readonly string[] | undefined;
  /** The SSH client: the embedded one, the ssh program, or what is needed. Default: `auto`. */
  readonly transport?: 'auto' | 'ssh2' | 'openssh' | undefined;
  /** Offer the jump host one key only. */
  readonly oneKey?: boolean | undefined;
  /** For TCP and key exchange, for each address. */
  readonly connectTimeout?: number | undefined;
  /** For authentication, without the time for answers. */
  readonly authTimeout?: number | undefined;
  /** Silence after which the jump host is asked for a sign of life; 0: never. */
  readonly keepalive?: number | undefined;
  /** For how long connections wait while the link is down; 0: they are refused. Default: 30. */
  readonly reconnectHold?: number | undefined;
  /** For how long a refused login is tried again; 0: not at all. */
  readonly waitAuth?: number | undefined;
  /** The jump host is dialled when a connection needs it. */
  readonly onDemand?: boolean | undefined;
  /** With `onDemand`: disconnect after so long without a connection; 0: never. */
  readonly idleDisconnect?: number | undefined;
  /** What one connection may have in flight, and all of them together. */
  readonly maxWindow?: number | undefined;
  readonly windowBudget?: number | undefined;
  /**
   * All that may be opened: `10.0.0.0/8:443`, `api.example.com`, `*.example.com:443`. Default:
   * everything.
   */
  readonly allow?: readonly string[] | undefined;
  /** A file with such rules, one a line. */
  readonly allowFile?: string | undefined;
  /** Answers questions for passwords, codes and host keys. Default: none is asked; it fails. */
  readonly prompt?: Prompt | undefined;
  /** Gives the opening up. Aborted later, it closes the tunnel. */
  readonly signal?: AbortSignal | undefined;
  /** Gets what the command line would log. Default: nobody does. */
  readonly log?: ((level: Level, message: string, fields?: Fields) => void) | undefined;
}
