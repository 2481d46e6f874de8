/** The targets, and their corpus: one file for each input, named by its digest. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { FuzzTarget } from './engine.ts';
import { FILE_TARGETS } from './targets/files.ts';
import { KERNEL_TARGETS } from './targets/kernel.ts';
import { NAME_TARGETS } from './targets/names.ts';
import { PACKET_TARGETS } from './targets/packets.ts';
import { PROXY_TARGETS } from './targets/proxies.ts';
import { SSH_TARGETS } from './targets/ssh.ts';

export const TARGETS: readonly FuzzTarget[] = [
  ...PACKET_TARGETS,
  ...NAME_TARGETS,
  ...SSH_TARGETS,
  ...PROXY_TARGETS,
  ...KERNEL_TARGETS,
  ...FILE_TARGETS,
];

const CORPUS = fileURLToPath(new URL('../../../test/fuzz/corpus/', import.meta.url));

type Named = Pick<FuzzTarget, 'name'>;

export function corpusDirectory({ name }: Named): string {
  return join(CORPUS, name);
}

/** Inputs that reached something new once, and those that found something. */
export function corpusOf(target: Named): Uint8Array[] {
  const directory = corpusDirectory(target);
  if (!existsSync(directory)) return [];
  return readdirSync(directory)
    .toSorted()
    .map((file) => readFileSync(join(directory, file)));
}

/** Returns the path. */
export function keep(target: Named, input: Uint8Array, prefix = ''): string {
  const directory = corpusDirectory(target);
  mkdirSync(directory, { recursive: true });
  const digest = createHash('sha256').update(input).digest('hex').slice(0, 16);
  const path = join(directory, `${prefix}${digest}`);
  writeFileSync(path, input);
  return path;
}
