/**
 * Terraform, or OpenTofu, in the lab's client, with a cloud that only the jump host reaches.
 *
 *   client: terraform ---- tunnel ---- jump host ---- Keystone and a stand-in of Glance
 *              |                                       (keystone.ts)
 *              +---- uplink: the state, by HTTP        (statebackend.ts)
 *
 * The state is no target, so it is reached directly: the backend sees the client's own address.
 * Each configuration has a directory and a prefix for its names of its own, so several may be
 * applied to one cloud.
 */
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { API1, UPLINK4 } from './addresses.ts';
import { CloudLab, keystoneUnavailable } from './keystone.ts';
import { ADMIN_PASSWORD, AUTH_URL, KEYSTONE_HOST, TARGETS } from './keystonecatalog.ts';
import type { LabOptions } from './lab.ts';
import type { Child, ExecResult } from './process.ts';
import { mirrorProviders, type TerraformProgram, terraformOrTofuMissing } from './terraform.ts';

const BACKEND = fileURLToPath(new URL('./statebackend.js', import.meta.url));
const BACKEND_PORT = 8090;
const GLANCE = 'glance.cloud.example:9292';
const TIMEOUT_MS = 120_000;

export const PROJECTS = 12;
export const USERS = 24;
const IMAGE_MEGABYTES = 8;
/** Projects, users, a role for each user, and an image. */
export const RESOURCES = PROJECTS + 2 * USERS + 1;

/** False, or what is missing. */
export function terraformLabUnavailable(): string | false {
  return keystoneUnavailable() || terraformOrTofuMissing();
}

/** How the provider is told of its cloud. */
export type Setting = 'address' | 'name' | 'clouds.yaml' | 'OS_*';

const LOGIN = {
  user_name: 'admin',
  password: ADMIN_PASSWORD,
  tenant_name: 'admin',
  user_domain_id: 'default',
  project_domain_id: 'default',
  region: 'RegionOne',
};

interface Settings {
  /** For the tunnel. */
  readonly targets: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Of the provider. */
  readonly block: Readonly<Record<string, unknown>>;
}

/** What a configuration has beside its resources. */
export interface Parts {
  readonly setting: Setting;
  /** A path of the backend, possibly with a query; the state is in a local file without it. */
  readonly state?: string;
  /** Programs that `local-exec` and `external` run ask Keystone. */
  readonly programs?: true;
}

export interface Configuration {
  readonly directory: string;
  readonly env: Readonly<Record<string, string>>;
  /** For the tunnel. */
  readonly targets: readonly string[];
}

export class TerraformLab {
  readonly cloud: CloudLab;
  readonly backend: Child;
  readonly #env: Readonly<Record<string, string>>;
  #configurations = 0;

  private constructor(cloud: CloudLab, backend: Child) {
    this.cloud = cloud;
    this.backend = backend;
    this.#env = mirrorProviders(cloud.directory);
  }

  static async create(options: LabOptions = {}): Promise<TerraformLab> {
    const permitOpen = [...TARGETS, `${API1}:443`, `${API1}:9292`];
    const sshd = { variant: 'hardened', permitOpen } as const;
    const cloud = await CloudLab.create({ sshd, ...options }, true);
    try {
      const argv = [process.execPath, BACKEND, UPLINK4, String(BACKEND_PORT)];
      const backend = await cloud.lab.uplink.spawn(argv);
      await backend.waitForLine(/ready\n/);
      return new TerraformLab(cloud, backend);
    } catch (error) {
      await cloud.close();
      throw error;
    }
  }

  close(): Promise<void> {
    return this.cloud.close();
  }

  /** Writes a configuration of RESOURCES resources. */
  configure({ setting, state, programs }: Parts): Configuration {
    const name = `c${++this.#configurations}`;
    const directory = join(this.cloud.directory, name);
    mkdirSync(directory);
    const { targets, env, block } = this.#settings(setting);
    const home = this.cloud.lab.clientHome;
    // The provider takes HOME from the passwd file, and looks in its working directory.
    copyFileSync(join(home, '.config/openstack/clouds.yaml'), join(directory, 'clouds.yaml'));
    const image = join(directory, 'image.raw');
    writeFileSync(image, Buffer.alloc(IMAGE_MEGABYTES << 20, name));
    const main = {
      terraform: {
        required_providers: {
          openstack: { source: 'terraform-provider-openstack/openstack' },
          ...(programs && { external: { source: 'hashicorp/external' } }),
        },
        ...(state !== undefined && { backend: { http: backendAt(state) } }),
      },
      provider: { openstack: block },
      ...resources(name, image),
    };
    const inside = programs ? programsOf(this.cloud.caFile, main.resource) : {};
    writeFileSync(join(directory, 'main.tf.json'), JSON.stringify({ ...main, ...inside }));
    return { directory, env: { ...this.#env, ...env }, targets };
  }

  /** A command line of the client, to its end. `wrap` is a way into the tunnel. */
  run(
    { directory, env }: Configuration,
    argv: readonly string[],
    more: Readonly<Record<string, string>> = {},
  ): Promise<ExecResult> {
    return this.cloud.lab.client.exec(this.cloud.withResolver(argv), {
      cwd: directory,
      env: { ...env, ...more },
      timeout: TIMEOUT_MS,
    });
  }

  spawn({ directory, env }: Configuration, argv: readonly string[]): Promise<Child> {
    return this.cloud.lab.client.spawn(this.cloud.withResolver(argv), { cwd: directory, env });
  }

  #settings(setting: Setting): Settings {
    const { caFile } = this.cloud;
    const byName = [`${KEYSTONE_HOST}:443`, GLANCE];
    const block = { ...LOGIN, cacert_file: caFile };
    switch (setting) {
      case 'name':
        return { targets: byName, env: {}, block: { ...block, auth_url: AUTH_URL } };
      case 'address': {
        const identity = `https://${API1}/v3`;
        const endpoints = { identity: `${identity}/`, image: `https://${API1}:9292/v2/` };
        return {
          targets: [`${API1}:443`, `${API1}:9292`],
          env: {},
          block: { ...block, auth_url: identity, endpoint_overrides: endpoints },
        };
      }
      case 'clouds.yaml':
        return { targets: ['--os-cloud', 'admin'], env: {}, block: { cloud: 'admin' } };
      case 'OS_*':
        return {
          targets: ['--os-cloud', 'envvars'],
          env: {
            OS_AUTH_URL: AUTH_URL,
            OS_USERNAME: LOGIN.user_name,
            OS_PASSWORD: LOGIN.password,
            OS_PROJECT_NAME: LOGIN.tenant_name,
            OS_USER_DOMAIN_ID: LOGIN.user_domain_id,
            OS_PROJECT_DOMAIN_ID: LOGIN.project_domain_id,
            OS_REGION_NAME: LOGIN.region,
            OS_CACERT: caFile,
          },
          block: {},
        };
    }
  }
}

function backendAt(state: string): Readonly<Record<string, string>> {
  const address = `http://${UPLINK4}:${BACKEND_PORT}/${state}`;
  return {
    address,
    lock_address: address,
    unlock_address: address,
    lock_method: 'LOCK',
    unlock_method: 'UNLOCK',
  };
}

const D = '$';

function resources(name: string, image: string) {
  return {
    data: { openstack_identity_role_v3: { member: { name: 'member' } } },
    resource: {
      openstack_identity_project_v3: {
        all: { count: PROJECTS, name: `${name}-project-${D}{count.index}` },
      },
      openstack_identity_user_v3: {
        all: {
          count: USERS,
          name: `${name}-user-${D}{count.index}`,
          password: 'of-the-lab',
          default_project_id: `${D}{openstack_identity_project_v3.all[count.index % ${PROJECTS}].id}`,
        },
      },
      openstack_identity_role_assignment_v3: {
        all: {
          count: USERS,
          user_id: `${D}{openstack_identity_user_v3.all[count.index].id}`,
          project_id: `${D}{openstack_identity_project_v3.all[count.index % ${PROJECTS}].id}`,
          role_id: `${D}{data.openstack_identity_role_v3.member.id}`,
        },
      },
      openstack_images_image_v2: {
        one: {
          name: `${name}-image`,
          local_file_path: image,
          container_format: 'bare',
          disk_format: 'raw',
        },
      },
    },
  };
}

/** Programs that say what Keystone answers them. */
function programsOf(caFile: string, resource: object): object {
  // Terraform reads "%{" as the start of a directive.
  const ask = `curl -sS -m 20 -o /dev/null -w '%%{http_code}' --cacert ${caFile} ${AUTH_URL}`;
  const program = ['sh', '-c', `printf '{"status":"%s"}' "${D}(${ask})"`];
  return {
    data: {
      openstack_identity_role_v3: { member: { name: 'member' } },
      external: { keystone: { program } },
    },
    resource: {
      ...resource,
      terraform_data: {
        keystone: {
          provisioner: [{ 'local-exec': { command: `${ask} > local-exec.status` } }],
        },
      },
    },
    output: { external: { value: `${D}{data.external.keystone.result.status}` } },
  };
}

export type Verb = 'init' | 'apply' | 'plan' | 'destroy';

/** The words for a command of the program. */
export function command({ path }: TerraformProgram, verb: Verb, parallelism = 10): string[] {
  const parallel = `-parallelism=${parallelism}`;
  const more = {
    init: [],
    apply: ['-auto-approve', '-input=false', parallel],
    plan: ['-detailed-exitcode', '-input=false', parallel],
    destroy: ['-auto-approve', '-input=false', parallel],
  };
  return [path, verb, '-no-color', ...more[verb]];
}

/** What went wrong, without the progress of all others. */
export function errorsOf({ stdout, stderr }: ExecResult): string {
  const progress = /: (Creating|Creation|Still|Destroying|Destruction|Reading|Read|Refreshing)/;
  return `${stdout}${stderr}`
    .split('\n')
    .filter((line) => !progress.test(line) && !/^ +[+~-]|^ +1: /.test(line))
    .join('\n')
    .slice(-6000);
}
