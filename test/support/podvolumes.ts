/**
 * A pod's volumes as the kubelet lays them out (pkg/volume/util/atomic_writer.go, and
 * pkg/volume/volume_linux.go for fsGroup):
 *
 *   NAME -> ..data/NAME              what a container opens
 *   ..data -> ..TIME                 replaced as a whole when the object changes
 *   ..TIME/NAME                      root's, with the mode of the item or the volume's default
 *
 * With an fsGroup all of it is of that group, which may read the files; directories have the
 * set-group-ID bit. A Secret lies on a tmpfs, whose mode is 1777; other volumes have 0777.
 */
import { chmodSync, lchownSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LabError } from './laberror.ts';

interface Item {
  readonly key: string;
  readonly path: string;
  readonly mode?: number;
}
interface Files {
  readonly defaultMode?: number;
  readonly items?: readonly Item[];
}
export interface Volume {
  readonly name: string;
  readonly configMap?: Files & { readonly name: string };
  readonly secret?: Files & { readonly secretName: string };
  readonly emptyDir?: object;
}

/** What the objects of a namespace hold, by their names. */
export interface Objects {
  readonly configMaps: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly secrets: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

/** Of the API, where the manifest has none. */
const DEFAULT_MODE = 0o644;
const GENERATION = '..2026_11_28_12_00_00.1';

/** Makes it at `directory`. Throws LabError where a pod would wait for an object for ever. */
export function makeVolume(
  directory: string,
  volume: Volume,
  objects: Objects,
  fsGroup: number,
): void {
  const { name, configMap, secret, emptyDir } = volume;
  if (configMap !== undefined)
    makeFiles(directory, 0o777, configMap, objects.configMaps[configMap.name], fsGroup);
  else if (secret !== undefined)
    makeFiles(directory, 0o1777, secret, objects.secrets[secret.secretName], fsGroup);
  else if (emptyDir !== undefined) makeDirectory(directory, 0o777, fsGroup);
  else throw new LabError('lab-pod', `volume ${name} is of a kind that this lab doesn't know`);
}

function makeFiles(
  directory: string,
  mode: number,
  { defaultMode = DEFAULT_MODE, items }: Files,
  data: Readonly<Record<string, string>> | undefined,
  fsGroup: number,
): void {
  if (data === undefined) throw new LabError('lab-pod', `${directory}: there is no such object`);
  makeDirectory(directory, mode, fsGroup);
  makeDirectory(join(directory, GENERATION), 0o755, fsGroup);
  link(GENERATION, join(directory, '..data'), fsGroup);
  for (const { key, path, mode: own } of items ?? everyKey(data)) {
    const text = data[key];
    if (text === undefined) throw new LabError('lab-pod', `${directory}: nothing has key ${key}`);
    const file = join(directory, GENERATION, path);
    writeFileSync(file, text);
    lchownSync(file, 0, fsGroup);
    chmodSync(file, (own ?? defaultMode) | 0o440);
    link(join('..data', path), join(directory, path), fsGroup);
  }
}

function everyKey(data: Readonly<Record<string, string>>): Item[] {
  return Object.keys(data).map((key) => ({ key, path: key }));
}

function makeDirectory(path: string, mode: number, fsGroup: number): void {
  mkdirSync(path);
  lchownSync(path, 0, fsGroup);
  chmodSync(path, mode | 0o2110);
}

function link(target: string, path: string, fsGroup: number): void {
  symlinkSync(target, path);
  lchownSync(path, 0, fsGroup);
}
