/** doctor's check of the addresses of --listen, --socks and --http: whether they are free. */
import { createServer } from 'node:net';
import { formatDestination } from '../../net/destination.ts';
import type { Finding } from './diagnosis.ts';

interface ListenAddress {
  readonly hosts: readonly string[];
  readonly port: number;
}

/** Listens for a moment. Empty: no address is given. */
export async function lookAtProxies(
  listens: readonly ListenAddress[],
  listen = tryListening,
): Promise<Finding[]> {
  if (listens.length === 0) return [];
  const name = 'proxies';
  const free: string[] = [];
  for (const { hosts, port } of listens) {
    const failures: string[] = [];
    const codes: string[] = [];
    for (const host of hosts) {
      const at = formatDestination({ host, port });
      const code = await listen(host, port);
      if (code === undefined) free.push(at);
      // As for the proxies themselves: an address that this machine doesn't have is skipped.
      else if (code !== 'EADDRNOTAVAIL' || hosts.length === 1) {
        failures.push(`${at} (${code})`);
        codes.push(code);
      }
    }
    if (failures.length > 0)
      return [
        {
          name,
          state: 'failed',
          detail: `can't listen on ${failures.join(', ')}`,
          code: 'capture-listen',
          hint: HINTS[codes[0] ?? ''] ?? 'name another address or port',
        },
      ];
  }
  return [{ name, state: 'ok', detail: `${free.join(', ')} can be listened on` }];
}

const HINTS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another program, perhaps another tunnel, listens there: name another port',
  EACCES: 'only root may listen on ports below 1024: name a higher one',
  EADDRNOTAVAIL:
    'this machine does not have that address: name one of its own, as in 127.0.0.1:1080',
};

/** undefined: it works. */
function tryListening(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'unknown error'));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(undefined)));
  });
}
