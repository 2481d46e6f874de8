/** The findings of `tunnel doctor`. The names are stable: programs read them (--json). */
import type { ErrorCode } from '../../errors/codes.ts';
import { TunnelError } from '../../errors/errors.ts';

export type CheckName =
  // the jump host
  | 'jump-host'
  | 'host-key'
  | 'algorithms'
  | 'authentication'
  | 'server'
  | 'forwarding'
  | 'latency'
  | 'throughput'
  | 'keepalive'
  | 'dns'
  | 'cloud'
  // this machine
  | 'tun-device'
  | 'helper'
  | 'namespaces'
  | 'kernel'
  | 'routes'
  | 'rules'
  | 'firewall'
  | 'resolver'
  | 'ipv6'
  | 'mtu'
  | 'proxies'
  | 'clock';

/** The result of one check. */
export interface Finding {
  readonly name: CheckName;
  /** What was checked, where there are several: a target, a resolver. */
  readonly subject?: string;
  /**
   * `failed`: something that was asked for can't work. `warning`: something that the user should
   * know before relying on it. `note`: it is not known, or not a matter of right and wrong.
   */
  readonly state: 'ok' | 'note' | 'warning' | 'failed';
  readonly detail: string;
  /** What can be done about it. */
  readonly hint?: string;
  /** The code of the error that the finding is made of. */
  readonly code?: ErrorCode;
}

/** A finding for a check that failed with `error`. Throws errors that aren't a TunnelError. */
export function failure(name: CheckName, error: unknown): Finding {
  if (!(error instanceof TunnelError)) throw error;
  const { message: detail, hint, code } = error;
  return { name, state: 'failed', detail, ...(hint !== undefined && { hint }), code };
}

const MAX_NAMED = 5;

/** The first of what was found, and how many more there are. */
export function summary(found: readonly string[]): string {
  const rest = found.length > MAX_NAMED ? `; and ${found.length - MAX_NAMED} more` : '';
  return found.slice(0, MAX_NAMED).join('; ') + rest;
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
