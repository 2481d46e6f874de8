/** doctor's check of the clock, on which certificates and one-time codes depend. */
import { statSync } from 'node:fs';
import type { Finding } from './diagnosis.ts';

/** Files that a running system writes again and again: it was later than their times already. */
const WITNESSES = [
  '/var/lib/systemd/timesync/clock',
  '/etc/fake-hwclock.data',
  '/var/log/wtmp',
  '/etc/resolv.conf',
  '/etc/ld.so.cache',
];
/** Files may come from another machine, whose clock is a little ahead. */
const SLACK_MS = 60 * 60 * 1000;

export function lookAtClock(
  now = Date.now(),
  modified: (path: string) => number | undefined = (path) =>
    statSync(path, { throwIfNoEntry: false })?.mtimeMs,
): Finding {
  const name = 'clock';
  const said = `${new Date(now).toISOString().slice(0, 19)}Z`;
  const later = WITNESSES.find((path) => (modified(path) ?? 0) > now + SLACK_MS);
  if (later === undefined) return { name, state: 'ok', detail: said };
  return {
    name,
    state: 'warning',
    detail: `${said}, but ${later} was written later: the clock is slow`,
    hint: 'set it, or start a time service: certificates and codes by time are refused otherwise',
  };
}
