/** What `tunnel doctor` finds. The names are stable: programs read them (--json). */
import { TunnelError } from '../../errors/errors.ts';

/** One thing that was looked at. */
export interface Finding {
  /** `tun-device`, `helper`, `namespaces`, `kernel`, `routes`, `rules`, `resolver`, `jump-host` */
  readonly name: string;
  /**
   * `failed` rules a capture out, `warning` is something that the user should know before relying
   * on one.
   */
  readonly state: 'ok' | 'note' | 'warning' | 'failed';
  readonly detail: string;
  /** What can be done about it. */
  readonly hint?: string;
}

/** What a look at something has failed with. Throws what is no TunnelError. */
export function failure(name: string, error: unknown): Finding {
  if (!(error instanceof TunnelError)) throw error;
  const { message: detail, hint } = error;
  return { name, state: 'failed', detail, ...(hint !== undefined && { hint }) };
}

export interface CaptureDiagnosis {
  /** The command that captures so. */
  readonly name: 'connect' | 'exec' | 'proxy';
  readonly possible: boolean;
  readonly why: string;
}

export interface Diagnosis {
  readonly captures: readonly CaptureDiagnosis[];
  readonly findings: readonly Finding[];
}

/** Whether anything captures here; a proxy is none, programs go there by themselves. */
export function canCapture({ captures }: Diagnosis): boolean {
  return captures.some(({ name, possible }) => possible && name !== 'proxy');
}
