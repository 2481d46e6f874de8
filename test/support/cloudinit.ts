/**
 * cloud-init itself: installed on this machine, or unpacked by scripts/test into dist/cloud-init,
 * so that it never runs at this machine's boot.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from './process.ts';

export const UNPACKED = fileURLToPath(new URL('../../cloud-init', import.meta.url));
const PACKAGES = 'usr/lib/python3/dist-packages';
/** What cloudinit.cmd.main loads besides. */
const LIBRARIES = 'yaml, jsonschema, jsonpatch, configobj, jinja2, oauthlib, requests';

/** Of a cloud-config, what the renderer writes. */
export interface UserData {
  readonly write_files: readonly {
    readonly path: string;
    readonly permissions: string;
    readonly content: string;
  }[];
  readonly runcmd: unknown;
  readonly ssh_pwauth: unknown;
  readonly ssh_genkeytypes?: unknown;
  readonly ssh_keys?: unknown;
}

const READ =
  'import sys, json, yaml; print(json.dumps(yaml.safe_load(sys.stdin.buffer.read().decode())))';

/** A reason to skip, or false. */
export function userDataUnreadable(): string | false {
  const { status } = spawnSync('/usr/bin/python3', ['-c', 'import yaml']);
  return status === 0 ? false : 'python3-yaml is not installed';
}

/** As cloud-init reads it: with PyYAML. */
export function readUserData(text: string): UserData {
  const { stdout, stderr } = spawnSync('/usr/bin/python3', ['-c', READ], {
    input: text,
    encoding: 'utf8',
  });
  if (stdout === '') throw new Error(stderr);
  const data: UserData = JSON.parse(stdout);
  return data;
}

/** The directory below which the package is; undefined: there is none. */
export function cloudInitRoot(): string | undefined {
  return [UNPACKED, '/'].find((root) => existsSync(join(root, PACKAGES, 'cloudinit')));
}

/** A reason to skip what runs cloud-init, or false. */
export function cloudInitUnavailable(): string | false {
  if (cloudInitRoot() === undefined) return 'cloud-init is neither installed nor unpacked';
  const { status } = spawnSync('/usr/bin/python3', ['-c', `import ${LIBRARIES}`]);
  return status === 0 ? false : `cloud-init needs Python's ${LIBRARIES}`;
}

export const cloudInitSchema = {
  unavailable: cloudInitUnavailable(),

  /** What `cloud-init schema` says of a user-data. */
  async check(text: string): Promise<string> {
    const directory = mkdtempSync(join(tmpdir(), 'tunnel-cloudinit-'));
    try {
      const file = join(directory, 'user-data');
      writeFileSync(file, text);
      const { stdout, stderr } = await run(
        ['/usr/bin/python3', '-m', 'cloudinit.cmd.main', 'schema', '--config-file', file],
        { env: { PYTHONPATH: join(cloudInitRoot() ?? '/', PACKAGES) } },
      );
      return `${stdout}${stderr}`;
    } finally {
      rmSync(directory, { recursive: true });
    }
  },
};
