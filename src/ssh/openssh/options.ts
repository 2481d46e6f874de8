/** What a dial through the system's ssh is given. */
import type { Level, Observer } from '../../observe/observer.ts';
import type { KnownAnswers } from '../answers.ts';
import type { RemoteAddress } from '../dial/addresses.ts';
import type { DialDevice } from '../dial/device.ts';
import type { ReplicaKeys } from '../hostkeys/replicas.ts';
import type { Prompter } from '../prompter.ts';
import type { SshSettings } from '../settings.ts';
import type { GivenOptions } from './arguments.ts';

export interface OpensshOptions {
  /**
   * ssh reads the same configuration files itself. We pass it only the settings that aren't in
   * those files, or that they must not override.
   */
  readonly settings: SshSettings;
  readonly given: GivenOptions;
  /**
   * Of the first hop. They are dialled by sockets that are bound, if `deviceFor` says so for one of
   * them. Default: ssh resolves the name and dials by itself.
   */
  readonly addresses?: readonly RemoteAddress[];
  readonly deviceFor?: DialDevice | undefined;
  /** Gets ssh's questions; ssh by itself would reach nobody. undefined: ssh asks by itself. */
  readonly relay?: Prompter;
  readonly observer: Observer;
  /** For messages about what takes long. Default: `notice`. */
  readonly progress?: Level | undefined;
  readonly signal?: AbortSignal;
  /** Shared by all addresses of one jump host (several -r): all must present the same key. */
  readonly replicas?: ReplicaKeys;
  /** What this run has learned about the servers. Default: nothing. */
  readonly answers?: KnownAnswers;
}
