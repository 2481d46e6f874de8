/**
 * The Deployment that `tunnel jumphost kubernetes` renders, read back: what the lab needs of it to
 * run a pod. A field of a securityContext that the lab doesn't know is an error, so that pods run
 * with exactly what is rendered.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { LabError } from './laberror.ts';
import type { Objects, Volume } from './podvolumes.ts';

export interface Mount {
  readonly name: string;
  readonly mountPath: string;
  readonly subPath?: string;
  readonly readOnly?: boolean;
}

export interface PodSecurity {
  readonly runAsNonRoot: boolean;
  readonly runAsUser: number;
  readonly runAsGroup: number;
  readonly fsGroup: number;
  /** The runtime's filter of system calls; here, there is no such runtime. */
  readonly seccompProfile: { readonly type: string };
}
export interface ContainerSecurity {
  readonly allowPrivilegeEscalation: boolean;
  readonly readOnlyRootFilesystem: boolean;
  readonly capabilities: { readonly drop: readonly string[] };
}

interface Exec {
  readonly exec: { readonly command: readonly string[] };
}
export interface Container {
  readonly command: readonly string[];
  readonly securityContext: ContainerSecurity;
  readonly readinessProbe: Exec;
  readonly livenessProbe: Exec;
  readonly lifecycle: { readonly preStop: Exec };
  readonly volumeMounts: readonly Mount[];
}
export interface PodManifest {
  readonly security: PodSecurity;
  readonly container: Container;
  readonly volumes: readonly Volume[];
  readonly objects: Objects;
  readonly image: Containerfile;
}
export interface Containerfile {
  /** The release of Debian that the image is made from. */
  readonly release: string;
  /** The command of RUN, as the shell gets it. */
  readonly run: string;
  /** `UID:GID`. */
  readonly user: string;
}

const POD_FIELDS = ['fsGroup', 'runAsGroup', 'runAsNonRoot', 'runAsUser', 'seccompProfile'];
const CONTAINER_FIELDS = ['allowPrivilegeEscalation', 'capabilities', 'readOnlyRootFilesystem'];

interface Manifest {
  readonly kind: string;
  readonly metadata?: { readonly name: string };
  readonly data?: Readonly<Record<string, string>>;
  readonly spec?: {
    readonly template: {
      readonly spec: {
        readonly securityContext: PodSecurity;
        readonly containers: readonly Container[];
        readonly volumes: readonly Volume[];
      };
    };
  };
}

/** Reads a rendered base. Its Secret has `hostKey`, under the names that the comment gives. */
export function readPodManifest(base: string, hostKey: string): PodManifest {
  const manifests = readdirSync(base)
    .filter((name) => name.endsWith('.yaml'))
    .map((name): Manifest => parse(readFileSync(join(base, name), 'utf8')));
  const spec = manifests.find(({ kind }) => kind === 'Deployment')?.spec?.template.spec;
  const [container, ...others] = spec?.containers ?? [];
  if (spec === undefined || container === undefined || others.length > 0)
    throw new LabError('lab-pod', `${base} has no Deployment with one container`);
  checkFields(spec.securityContext, POD_FIELDS);
  checkFields(container.securityContext, CONTAINER_FIELDS);
  const configMaps = manifests.flatMap(({ kind, metadata, data }) =>
    kind === 'ConfigMap' ? [[metadata?.name ?? '', data ?? {}] as const] : [],
  );
  const steps = readFileSync(join(base, 'kustomization.yaml'), 'utf8');
  const [, secret = '', key = ''] =
    /create secret generic (\S+) --from-file=(\S+)/.exec(steps) ?? [];
  return {
    security: spec.securityContext,
    container,
    volumes: spec.volumes,
    objects: {
      configMaps: Object.fromEntries(configMaps),
      secrets: { [secret]: { [key]: hostKey } },
    },
    image: checkUser(readContainerfile(base), spec.securityContext),
  };
}

export function readContainerfile(base: string): Containerfile {
  const text = readFileSync(join(base, 'Containerfile'), 'utf8');
  const [, release, run, user] =
    /^FROM \S+debian:(\w+)-slim\nRUN ((?:.*\\\n)*.*)\nUSER (\S+)\n$/m.exec(text) ?? [];
  if (release === undefined || run === undefined || user === undefined)
    throw new LabError('lab-pod', `a Containerfile that this lab doesn't know:\n${text}`);
  return { release, run: run.replaceAll('\\\n', ' '), user };
}

function checkUser(image: Containerfile, { runAsUser, runAsGroup }: PodSecurity): Containerfile {
  if (image.user === `${runAsUser}:${runAsGroup}`) return image;
  throw new LabError('lab-pod', `the image is for ${image.user}, the pod for ${runAsUser}`);
}

function checkFields(context: object, known: readonly string[]): void {
  const fields = Object.keys(context).sort();
  if (fields.join() !== known.join())
    throw new LabError('lab-pod', `a securityContext has ${fields}, and this lab applies ${known}`);
}
