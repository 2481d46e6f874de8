/** At which addresses the ports of forwards listen, as ssh has it. */
import { isLocalhost } from '../net/name.ts';
import type { ForwardSettings } from '../ssh/settings.ts';

const LOOPBACK = ['127.0.0.1', '::1'] as const;
const EVERYWHERE = ['0.0.0.0', '::'] as const;

/** `host`: as it is written before the port; undefined: nothing is. */
export function listenHosts(
  host: string | undefined,
  { gatewayPorts }: Pick<ForwardSettings, 'gatewayPorts'>,
): readonly [string, ...string[]] {
  if (host === '*' || (host === undefined && gatewayPorts)) return EVERYWHERE;
  return host === undefined || host === 'localhost' ? LOOPBACK : [host];
}

/** Whether only this machine can connect to it. */
export function isLoopback(host: string): boolean {
  return host === '::1' || /^127\.[0-9.]+$/.test(host) || isLocalhost(host);
}
