/**
 * Dials the jump host through the system's ssh, one address after the other.
 *
 *   settings -> what ssh is given besides its own configuration -> ssh/openssh/dial.ts
 *
 * ssh reads ssh_config itself. It gets a copy without what this program does in its place, and one
 * in which paths lead to $HOME, if that isn't the home directory of the passwd entry.
 */
import { stat } from 'node:fs/promises';
import { TunnelError } from '../errors/errors.ts';
import type { Level, Observer } from '../observe/observer.ts';
import type { KnownAnswers } from '../ssh/answers.ts';
import { optionsWithFullPaths } from '../ssh/config/files.ts';
import { hasForwards, isNoForward } from '../ssh/config/forwards.ts';
import { FORWARD_KEYWORDS } from '../ssh/config/keywords.ts';
import { copySshConfig } from '../ssh/config/resolve.ts';
import type { JumpHost } from '../ssh/dial/addresses.ts';
import type { DialDevice } from '../ssh/dial/device.ts';
import { isTimeout } from '../ssh/dial/tcp.ts';
import { HURRIED_SECONDS } from '../ssh/embedded/handshake/dial.ts';
import type { ReplicaKeys } from '../ssh/hostkeys/replicas.ts';
import { defaultIdentityFiles } from '../ssh/identities/identities.ts';
import type { SshOptions } from '../ssh/options.ts';
import type { Prompter } from '../ssh/prompter.ts';
import { formatJump } from '../ssh/remote.ts';
import type { SshSettings } from '../ssh/settings.ts';
import type { Transport } from '../ssh/transport.ts';
import { homeDirectory, passwdHome } from '../system/home.ts';
import { loadOpenssh } from './loadopenssh.ts';
import { patientSettings } from './patience.ts';

export interface OpensshDiallerOptions {
  readonly ssh: SshOptions;
  readonly prompter: Prompter;
  readonly observer: Observer;
  /** undefined: ssh dials by itself. */
  readonly deviceFor: (settings: SshSettings) => DialDevice | undefined;
  readonly answers: KnownAnswers;
  readonly replicas: ReplicaKeys;
}

export class OpensshDialler {
  readonly #options: OpensshDiallerOptions;

  constructor(options: OpensshDiallerOptions) {
    this.#options = options;
  }

  /**
   * Only an unreachable jump host is skipped: a wrong key or a refused login is the end, as with
   * the embedded client. As there (ssh/embedded/handshake/dial.ts), each gets only a short time
   * while others are left, and is tried again with its full time if none of them answers.
   */
  async dial(
    jumpHosts: readonly JumpHost[],
    progress: Level,
    signal: AbortSignal,
  ): Promise<Transport> {
    const failures: TunnelError[] = [];
    const several = jumpHosts.length > 1;
    // Grows while the loop below runs.
    const queue = jumpHosts.map((jumpHost, i) => ({
      jumpHost,
      hurried: i < jumpHosts.length - 1,
    }));
    for (const { jumpHost, hurried } of queue) {
      const patience = (limit: number) => (hurried ? Math.min(limit, HURRIED_SECONDS) : limit);
      const settings = patientSettings(jumpHost.settings, patience);
      try {
        return await this.#start({ ...jumpHost, settings }, { several, progress, signal });
      } catch (error) {
        if (!(error instanceof TunnelError) || !error.code.startsWith('jumphost-')) throw error;
        if (several) this.#options.observer.log('warning', error.message);
        if (hurried && isTimeout(error)) queue.push({ jumpHost, hurried: false });
        failures.push(error);
      }
    }
    throw failures[0];
  }

  /** `several`: the jump host has several addresses, which must all show the same key. */
  async #start(
    { settings, addresses }: JumpHost,
    { several, progress, signal }: { several: boolean; progress: Level; signal: AbortSignal },
  ): Promise<Transport> {
    const { dialOpenssh } = await loadOpenssh();
    const { ssh, prompter, observer, deviceFor, answers, replicas } = this.#options;
    const { authentication } = settings;
    const batch = authentication.batch || !prompter.canAsk();
    const elsewhere = !batch && (prompter.asksElsewhere?.() ?? false);
    const home = homeDirectory();
    const moved = home !== passwdHome();
    // ssh reads the configuration in the passwd entry's home directory, but the settings come from
    // $HOME. Forwards are the tunnel's own (session/forwards.ts): ssh must not set up any.
    const forwards = hasForwards(settings);
    const given = forwards ? ssh.sshOptions.filter(isNoForward) : ssh.sshOptions;
    const { name: host, port, user } = settings;
    const copy =
      moved || forwards || (await isForUsAlone(ssh.configFile))
        ? await copySshConfig(
            ssh,
            { observer, signal },
            {
              without: forwards ? FORWARD_KEYWORDS : [],
              ...{ remote: { host, port, user }, via: ssh.jump, sshOptions: given },
            },
          )
        : undefined;
    try {
      return await dialOpenssh({
        settings: { ...settings, authentication: { ...authentication, batch } },
        given: {
          command: ssh.sshCommand,
          configFile: copy?.path ?? ssh.configFile,
          options: await optionsWithFullPaths(given, home),
          jump: ssh.jump === undefined ? undefined : formatJump(ssh.jump),
          identityFiles: authentication.identityFiles.flatMap(({ path, explicit }) =>
            explicit ? path : [],
          ),
          defaultIdentities: moved ? defaultIdentityFiles(home) : undefined,
        },
        addresses,
        ...(elsewhere && { relay: prompter }),
        deviceFor: deviceFor(settings),
        answers,
        observer,
        progress,
        signal,
        ...(several ? { replicas } : {}),
      });
    } catch (error) {
      throw copy !== undefined && error instanceof TunnelError
        ? renamed(error, copy.originalNames)
        : error;
    } finally {
      await copy?.remove();
    }
  }
}

/** Whether ssh can't read the file of -F: a pipe is read once, and a descriptor is not ssh's. */
async function isForUsAlone(path: string | undefined): Promise<boolean> {
  if (path === undefined) return false;
  if (/^\/(dev\/(stdin$|fd\/)|proc\/[^/]+\/fd\/)/.test(path)) return true;
  try {
    return !(await stat(path)).isFile();
  } catch {
    return false; // `none`, or what is wrong with it has been said before
  }
}

function renamed(error: TunnelError, originalNames: (message: string) => string): TunnelError {
  return new TunnelError(error.code, originalNames(error.message), {
    ...(error.hint === undefined ? {} : { hint: originalNames(error.hint) }),
    cause: error,
  });
}
