/**
 * The part of the program that stays root under sudo and doas: the process that these have started.
 * The program itself runs as the caller, and asks for what needs root (protocol.ts). This part
 * reads no file of the caller's, dials nobody, and takes no path, address or text from the program.
 *
 *   serving ── a request ──► its work ──► its answer ──► serving
 *      │ a malformed request, or one before the answer to the last: refused
 *      └── close(): program or link have ended, or refused ──► resolv.conf as before ──► closed
 *
 * What it changes is undone when the program has ended, however that was. If this part is killed,
 * root's journal has what was changed, and the program ends (client.ts).
 */
import { TunnelError } from '../../errors/errors.ts';
import { reasonOf } from '../../errors/reason.ts';
import { systemRefusal } from '../../errors/system.ts';
import type { HostChange } from '../resolver/hostchange.ts';
import type { RecoveryReport } from '../resolver/recover.ts';
import { resolvedCalls, revertCall } from '../resolver/resolved.ts';
import {
  decodeRequest,
  encode,
  MAX_RULESET_CHARACTERS,
  MAX_SENTENCE,
  MAX_SENTENCES,
  type PrivilegedAnswer,
  type PrivilegedRequest,
  RULESET_PIECE,
} from './protocol.ts';

/** What root does for the program; session/linuxroot.ts has the real one. */
export interface Root {
  /** Never rejects. */
  recover(): Promise<RecoveryReport>;
  /** Makes a directory of the caller's, in one that only root can change; its path. */
  makeDirectory(): string;
  /** Removes it, with the socket in it. Never throws. */
  removeDirectory(path: string): void;
  /** Starts the helper for the caller, and resolves when what was started has ended. */
  startHelper(directory: string): Promise<HelperStart>;
  resolvConf(servers: readonly string[]): HostChange;
  /** Runs resolvectl. Rejects with TunnelError `dns-resolved`. */
  resolvectl(args: readonly string[]): Promise<void>;
  /** The addresses of the DNS server of the tunnel with this device; none: it is no tunnel's. */
  serversOf(device: string): readonly string[];
  listRuleset(): Promise<{ readonly json: string } | { readonly why: string }>;
}

export interface HelperStart {
  /** An exit status or a signal's name. */
  readonly status: number | string;
  /** What it has printed last. */
  readonly complaint: string;
}

export interface PartOptions {
  readonly root: Root;
  readonly send: (message: Uint8Array) => void;
  /** Ends the conversation: the program then finds its link closed. */
  readonly end: (isRefused: boolean) => void;
  /** Leaves the terminal; undefined: it was not started to run on without. */
  readonly detach?: (() => void) | undefined;
  /** Devices that were there before the program. */
  readonly foreign: ReadonlySet<string>;
}

/** Errors of the program's own requests. */
function refused(what: string): TunnelError {
  return new TunnelError('privileged-refused', `the privileged part refused: ${what}`, {
    hint: 'start tunnel again, and see what else changes the network',
  });
}

export class PrivilegedPart {
  readonly #options: PartOptions;
  #busy = false;
  #closing: Promise<void> | undefined;
  #directory: string | undefined;
  #hasStartedHelper = false;
  #change: HostChange | undefined;
  #ruleset: Promise<{ readonly json: string } | { readonly why: string }> | undefined;
  /** The work under way; it never rejects. */
  #work: Promise<void> = Promise.resolve();

  constructor(options: PartOptions) {
    this.#options = options;
  }

  /** A message from the program. */
  received(bytes: Uint8Array): void {
    if (this.#closing !== undefined) return;
    const request = decodeRequest(bytes);
    if (request === undefined || this.#busy) {
      this.#end(true);
      return;
    }
    this.#busy = true;
    this.#work = this.#answer(request).then((answer) => {
      this.#busy = false;
      if (this.#closing === undefined) this.#options.send(encode(answer));
    });
  }

  /** The program has closed its end, or has sent a message that is too long. */
  linkEnded(): void {
    if (this.#closing === undefined) this.#end(false);
  }

  #end(isRefused: boolean): void {
    void this.close().catch(() => {}); // the call at the program's end reports it
    this.#options.end(isRefused);
  }

  /**
   * Takes back what was changed. May be called more than once. Rejects with TunnelError
   * `dns-undo` if resolv.conf can't be restored; the journal then still has it.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#work;
    this.#removeDirectory();
    try {
      await this.#change?.undo();
    } catch (cause) {
      throw new TunnelError(
        'dns-undo',
        `${this.#change?.describe()} could not be put back: ${reasonOf(cause)}`,
        { hint: 'run "sudo tunnel clean"', cause },
      );
    }
  }

  async #answer(request: PrivilegedRequest): Promise<PrivilegedAnswer> {
    try {
      return { ok: true, value: await this.#perform(request) };
    } catch (error) {
      const known =
        error instanceof TunnelError ? error : (systemRefusal(error) ?? refused(reasonOf(error)));
      return {
        ok: false,
        code: known.code,
        message: shortened(known.message),
        hint: known.hint === undefined ? undefined : shortened(known.hint),
      };
    }
  }

  async #perform(request: PrivilegedRequest): Promise<unknown> {
    const { root } = this.#options;
    switch (request.type) {
      case 'recover': {
        const { done, failed } = await root.recover();
        return { done: sentences(done), failed: sentences(failed) };
      }
      case 'directory':
        if (this.#directory !== undefined || this.#hasStartedHelper)
          throw refused('there is one helper a run');
        this.#directory = root.makeDirectory();
        return this.#directory;
      case 'helper': {
        const directory = this.#directory;
        if (directory === undefined || this.#hasStartedHelper)
          throw refused('there is no directory for a helper');
        this.#hasStartedHelper = true;
        const started = await root.startHelper(directory);
        this.#removeDirectory();
        return { status: started.status, complaint: shortened(started.complaint) };
      }
      case 'resolv-conf': {
        if (this.#change !== undefined) throw refused('resolv.conf is rewritten already');
        const change = root.resolvConf(this.#serversOf(request.device));
        // From here on close() undoes it, also if it is half done.
        this.#change = change;
        try {
          await change.apply();
        } catch (error) {
          this.#change = undefined; // it has undone itself
          throw error;
        }
        return null;
      }
      case 'restore':
        await this.#change?.undo();
        this.#change = undefined;
        return null;
      case 'detach': {
        const { detach } = this.#options;
        if (detach === undefined) throw refused('it was not started to run on');
        detach();
        return null;
      }
      case 'resolved': {
        const { device, domains } = request;
        const servers = this.#serversOf(device);
        for (const call of resolvedCalls({ device, domains, servers })) await root.resolvectl(call);
        return null;
      }
      case 'revert':
        this.#serversOf(request.device);
        await root.resolvectl(revertCall(request.device));
        return null;
      case 'ruleset': {
        this.#ruleset ??= root.listRuleset();
        const listed = await this.#ruleset;
        if ('why' in listed) return { why: shortened(listed.why) };
        const { json } = listed;
        if (json.length > MAX_RULESET_CHARACTERS) return { why: 'there are too many rules' };
        const piece = json.slice(request.from, request.from + RULESET_PIECE);
        return { piece, length: json.length };
      }
    }
  }

  /** Of a tunnel that was started after this program, with its own device. */
  #serversOf(device: string): readonly string[] {
    const { root, foreign } = this.#options;
    const servers = foreign.has(device) ? [] : root.serversOf(device);
    if (servers.length === 0) throw refused(`${device} is not this tunnel's device`);
    return servers;
  }

  #removeDirectory(): void {
    if (this.#directory !== undefined) this.#options.root.removeDirectory(this.#directory);
    this.#directory = undefined;
  }
}

function sentences(list: readonly string[]): string[] {
  return list.slice(0, MAX_SENTENCES).map(shortened);
}

function shortened(text: string): string {
  return text.slice(0, MAX_SENTENCE);
}
