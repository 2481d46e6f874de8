/** What `tunnel doctor` finds. The names are stable: programs read them (--json). */

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
