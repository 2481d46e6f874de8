/**
 * The names that completion finds on this machine. Whatever is wrong with a file, it has no names:
 * nothing is said at a prompt.
 */
import { join } from 'node:path';
import type { ConfigFile } from '../../ssh/config/files.ts';
import { homeDirectory } from '../../system/home.ts';
import { readSmallFile } from '../../system/smallfile.ts';
import type { NamedKind } from '../values.ts';

/** Of each known_hosts file; what is larger has no names. */
const MAX_KNOWN_HOSTS_BYTES = 4 * 1024 * 1024;
/** A name of a host as programs write it; also `[host]:port` and IPv6 addresses. */
const HOST = /^[\p{L}\p{N}_][\p{L}\p{N}._:-]{0,254}$/u;

type Environment = Readonly<Record<string, string | undefined>>;
const SOURCES: Readonly<Record<NamedKind, (env: Environment) => Promise<readonly string[]>>> = {
  host: hosts,
  hops: hosts,
  cloud: clouds,
  profile: profiles,
  tunnel: tunnels,
};

export async function namesOf(kind: NamedKind, env: Environment): Promise<readonly string[]> {
  try {
    return await SOURCES[kind](env);
  } catch {
    return []; // a file that can't be read, or is malformed
  }
}

async function hosts(): Promise<string[]> {
  const home = homeDirectory();
  const known = ['/etc/ssh/ssh_known_hosts', join(home, '.ssh/known_hosts')];
  const found = await Promise.all([
    aliases(home).catch(() => []),
    ...known.map((path) => knownHosts(path).catch(() => [])),
  ]);
  return [...new Set(found.flat())].sort();
}

/** The Hosts of ssh_config and what it includes, without patterns. */
async function aliases(home: string): Promise<string[]> {
  const { loadConfig } = await import('../../ssh/config/files.ts');
  const { user, system } = await loadConfig({ file: undefined, home, systemDirectory: '/etc/ssh' });
  return [user, system].flatMap((file) => (file === undefined ? [] : aliasesOf(file)));
}

function aliasesOf({ lines }: ConfigFile): string[] {
  return lines.flatMap(({ directive, includes = [] }) => [
    ...(directive?.keyword === 'host' ? directive.args.filter((name) => HOST.test(name)) : []),
    ...includes.flatMap(aliasesOf),
  ]);
}

async function knownHosts(path: string): Promise<string[]> {
  const file = await readSmallFile(path, MAX_KNOWN_HOSTS_BYTES);
  return file === undefined ? [] : knownHostNames(file.text);
}

/** Without hashed names, patterns, and what is revoked or an authority's. As -r takes them. */
export function knownHostNames(text: string): string[] {
  return text.split('\n').flatMap((line) => {
    if (/^\s*[#@|]/.test(line)) return [];
    const [names = ''] = line.trim().split(/\s/, 1);
    return names.split(',').flatMap((name) => {
      const [, bracketed, port] = /^\[([^\]]*)\]:([0-9]+)$/.exec(name) ?? [];
      const host = bracketed ?? name;
      if (!HOST.test(host)) return [];
      const written = host.includes(':') ? `[${host}]` : host;
      return [port === undefined ? written : `${written}:${port}`];
    });
  });
}

async function profiles(env: Environment): Promise<string[]> {
  const { readConfigFiles } = await import('../../config/profiles/files.ts');
  const files = await readConfigFiles(undefined, { env });
  return [...new Set(files.flatMap((file) => [...file.profiles.keys()]))].sort();
}

async function tunnels(): Promise<string[]> {
  const { findTunnels } = await import('../../control/client.ts');
  const found = await findTunnels();
  return [...new Set(found.tunnels.map(({ status }) => status.name))].sort();
}

async function clouds(env: Environment): Promise<string[]> {
  const { cloudsOf, findFile } = await import('../../openstack/settings/files.ts');
  const places = { env, directory: process.cwd(), home: homeDirectory() };
  return Object.keys(
    cloudsOf(
      findFile('clouds', places, () => {}),
      'clouds',
    ),
  );
}
