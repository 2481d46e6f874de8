/**
 * The program's end of the link to the privileged part (part.ts), which is its parent under sudo
 * and doas.
 *
 *   take()      finds the link that the parent has passed on; once, at the start
 *   request()   one at a time; others wait
 *   ended       the parent is gone: with it resolv.conf can't be put back, so the program ends
 */
import { within } from '../../base/within.ts';
import { ERRORS, type ErrorCode } from '../../errors/codes.ts';
import { TunnelError } from '../../errors/errors.ts';
import { addon, type LinkHandle } from '../../native/addon.ts';
import type { Observer } from '../../observe/observer.ts';
import type { HelperStarter } from '../helper/helper.ts';
import type { HostChange } from '../resolver/hostchange.ts';
import type { RecoveryReport } from '../resolver/recover.ts';
import type { LinkSettings } from '../resolver/resolved.ts';
import {
  decodeAnswer,
  encode,
  MAX_RULESET_CHARACTERS,
  type PrivilegedAnswer,
  type PrivilegedRequest,
} from './protocol.ts';

/** Tells the program which descriptor is the link. */
export const LINK_VARIABLE = 'TUNNEL_PRIVILEGED_FD';
/** In the directory that the privileged part makes. */
export const HELPER_SOCKET = 'helper';
/** Eight calls of resolvectl may take 10 s each. */
const ANSWER_SECONDS = 100;
const KNOWN_CODES: ReadonlySet<string> = new Set(ERRORS.flatMap(({ codes }) => [...codes]));

interface Waiter {
  resolve(answer: PrivilegedAnswer): void;
  reject(error: TunnelError): void;
}

export class PrivilegedLink {
  /** Resolves with `privileged-lost` when the privileged part is gone. Never rejects. */
  readonly ended: Promise<TunnelError>;
  readonly #link: LinkHandle;
  readonly #end: (error: TunnelError) => void;
  #lost: TunnelError | undefined;
  #waiter: Waiter | undefined;
  /** Resolves when the last request has ended, even if it failed. */
  #last: Promise<unknown> = Promise.resolve();

  private constructor(fd: number) {
    let end: (error: TunnelError) => void = () => {};
    this.ended = new Promise((resolve) => {
      end = resolve;
    });
    this.#end = end;
    this.#link = addon().linkAdopt(fd, (message) => this.#received(message));
  }

  /**
   * The link that `env` names, which no program that is started later sees. Undefined: there is
   * none. Throws TunnelError `privileged-lost` if it isn't a link to root.
   */
  static take(env: NodeJS.ProcessEnv): PrivilegedLink | undefined {
    const text = env[LINK_VARIABLE];
    delete env[LINK_VARIABLE];
    if (text === undefined) return undefined;
    if (!/^\d{1,5}$/.test(text)) throw lost(`${LINK_VARIABLE} is not a descriptor`);
    try {
      return new PrivilegedLink(Number(text));
    } catch (error) {
      if (error instanceof TunnelError) throw error;
      throw lost(`descriptor ${text} is no link to it`);
    }
  }

  /** Reads RecoveryReport of root's journal. */
  async recover(observer: Observer): Promise<RecoveryReport> {
    const value = await this.#request({ type: 'recover' });
    const report = value as Partial<RecoveryReport> | null;
    const done = textsOf(report?.done);
    for (const _ of done) observer.count('tunnel_recovered_total');
    return { done, failed: textsOf(report?.failed) };
  }

  readonly helper: HelperStarter = {
    directory: async () => String(await this.#request({ type: 'directory' })),
    start: async () => {
      const value = await this.#request({ type: 'helper' });
      const { status, complaint } = value as { status: number | string; complaint: string };
      return { status, complaint: String(complaint) };
    },
  };

  /** Has it leave the terminal, with -D. */
  async detach(): Promise<void> {
    await this.#request({ type: 'detach' });
  }

  /** resolv.conf, for the tunnel with this device. */
  resolvConf(device: string): HostChange {
    let applied = false;
    return {
      describe: () => 'resolv.conf',
      apply: async () => {
        await this.#request({ type: 'resolv-conf', device });
        applied = true;
      },
      undo: async () => {
        if (applied) await this.#request({ type: 'restore' });
        applied = false;
      },
    };
  }

  /** systemd-resolved, for the tunnel with this device. */
  resolved(device: string, domains: readonly string[]): LinkSettings {
    return {
      set: async () => void (await this.#request({ type: 'resolved', device, domains })),
      revert: async () => void (await this.#request({ type: 'revert', device })),
    };
  }

  readonly listRuleset = async (): Promise<
    { readonly json: string } | { readonly why: string }
  > => {
    let json = '';
    for (;;) {
      const value = await this.#request({ type: 'ruleset', from: json.length });
      const { why, piece, length } = value as { why?: string; piece?: string; length?: number };
      if (why !== undefined) return { why: String(why) };
      json += piece ?? '';
      if (piece === undefined || piece === '' || json.length >= (length ?? 0)) return { json };
      if (json.length > MAX_RULESET_CHARACTERS) return { why: 'there are too many rules' };
    }
  };

  /** Rejects with TunnelError. */
  #request(request: PrivilegedRequest): Promise<unknown> {
    const result = this.#last.then(() => this.#exchange(request));
    this.#last = result.catch(() => {}); // the caller handles it; the next one only waits
    return result;
  }

  async #exchange(request: PrivilegedRequest): Promise<unknown> {
    if (this.#lost !== undefined) throw this.#lost;
    const late = () => lost(`it has not answered for ${ANSWER_SECONDS} s`);
    const time = { milliseconds: ANSWER_SECONDS * 1000, late };
    const answer = await within({ time }, () => {
      const answered = new Promise<PrivilegedAnswer>((resolve, reject) => {
        this.#waiter = { resolve, reject };
      });
      try {
        addon().linkSend(this.#link, encode(request));
      } catch {
        this.#finish(lost('a request could not be sent'));
      }
      return answered;
    }).catch((error: TunnelError) => {
      this.#finish(error);
      throw error;
    });
    if (answer.ok) return answer.value;
    const { code, message, hint } = answer;
    throw new TunnelError(isKnown(code) ? code : 'privileged-refused', message, {
      ...(hint === undefined ? {} : { hint }),
    });
  }

  #received(bytes: Uint8Array | null): void {
    const answer = bytes === null ? undefined : decodeAnswer(bytes);
    const waiter = this.#waiter;
    this.#waiter = undefined;
    if (answer !== undefined && waiter !== undefined) {
      waiter.resolve(answer);
      return;
    }
    const error = lost(bytes === null ? 'it was ended from outside' : 'an unexpected message');
    waiter?.reject(error);
    this.#finish(error);
  }

  #finish(error: TunnelError): void {
    if (this.#lost !== undefined) return;
    this.#lost = error;
    addon().linkClose(this.#link);
    this.#waiter?.reject(error);
    this.#waiter = undefined;
    this.#end(error);
  }
}

function lost(why: string): TunnelError {
  return new TunnelError('privileged-lost', `the part of tunnel that is root is gone: ${why}`, {
    hint: 'start it again; "sudo tunnel clean" puts resolver settings right that are left',
  });
}

function isKnown(code: string): code is ErrorCode {
  return KNOWN_CODES.has(code);
}

function textsOf(value: unknown): string[] {
  return Array.isArray(value) ? value.map(String) : [];
}
