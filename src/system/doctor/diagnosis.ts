/** The findings of `tunnel doctor`. The names are stable: programs read them (--json). */
import { TunnelError } from '../../errors/errors.ts';

/** The result of one check. */
export interface Finding {
  /** `tun-device`, `helper`, `namespaces`, `kernel`, `routes`, `rules`, `resolver`, `jump-host` */
  readonly name: string;
  /**
   * `failed` rules out a capture; `warning` is something that the user should know before relying
   * on one.
   */
  readonly state: 'ok' | 'note' | 'warning' | 'failed';
  readonly detail: string;
  /** What can be done about it. */
  readonly hint?: string;
}

/** A finding for a check that failed with `error`. Throws errors that aren't a TunnelError. */
export function failure(name: string, error: unknown): Finding {
  if (!(error instanceof TunnelError)) throw error;
  const { message: detail, hint } = error;
  return { name, state: 'failed', detail, ...(hint !== undefined && { hint }) };
}

export interface CaptureDiagnosis {
  /** The command with this capture. */
  readonly name: 'connect' | 'exec' | 'proxy';
  readonly possible: boolean;
  readonly why: string;
}

export interface Diagnosis {
  readonly captures: readonly CaptureDiagnosis[];
  readonly findings: readonly Finding[];
}

/** Whether any capture works here. A proxy isn't one: programs connect to it themselves. */
export function canCapture({ captures }: Diagnosis): boolean {
  return captures.some(({ name, possible }) => possible && name !== 'proxy');
}
