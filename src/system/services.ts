/** The services of services(5). Those of other sources (NIS, LDAP) are not known here. */
import { readFileSync } from 'node:fs';

const SERVICES = '/etc/services';

/**
 * The TCP port of a service, by its name or an alias, as getservbyname(3) finds it. undefined: it
 * isn't known, or the file can't be read, as in a container without it. `path`: of the file.
 */
export function tcpServicePort(name: string, path: string = SERVICES): number | undefined {
  for (const line of textOf(path).split('\n')) {
    const [known, place = '', ...aliases] = line.replace(/#.*/, '').trim().split(/\s+/);
    const port = /^([0-9]+)\/tcp$/.exec(place)?.[1];
    if (port !== undefined && (known === name || aliases.includes(name))) return Number(port);
  }
  return undefined;
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
