/**
 * Which system this is. What captures needs Linux; the proxies, the library and the reports don't.
 * What needs it says so by its name.
 */
import { TunnelError } from '../errors/errors.ts';

/** As people call them; for the others Node's name is used. */
const NAMES: Readonly<Partial<Record<NodeJS.Platform, string>>> = {
  darwin: 'macOS',
  freebsd: 'FreeBSD',
  netbsd: 'NetBSD',
  openbsd: 'OpenBSD',
  sunos: 'illumos or Solaris',
  win32: 'Windows',
};

export function isLinux(): boolean {
  return process.platform === 'linux';
}

export function systemName(): string {
  return NAMES[process.platform] ?? process.platform;
}

/** `what` is the part of the program that needs Linux, such as `tunnel connect`. */
export function needsLinux(what: string): TunnelError {
  const where = process.platform === 'win32' ? 'in WSL2, which is Linux' : 'in a virtual machine';
  return new TunnelError('needs-linux', `${what} needs Linux, and this is ${systemName()}`, {
    hint: `run it ${where}; here, "tunnel proxy" and "tunnel exec" work, with programs that heed a proxy`,
  });
}

/** Throws TunnelError `needs-linux` on other systems. */
export function requireLinux(what: string): void {
  if (!isLinux()) throw needsLinux(what);
}
