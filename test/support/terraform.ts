/**
 * Terraform with its provider for OpenStack, from a mirror on this machine, as for somebody without
 * the registry. Both are run as users run them: init, plan, apply, destroy.
 *
 * OpenTofu has the same commands and settings. It is built from the Go module proxy; Terraform has
 * to be installed.
 */
import {
  accessSync,
  constants,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { goProgram, goProgramMissing } from './goprograms.ts';
import { LabError } from './laberror.ts';
import { type ExecResult, run, SEARCH_PATH } from './process.ts';

const PROVIDER = 'terraform-provider-openstack';
/** As test/support/go/terraform-provider-openstack/go.mod has it. */
const VERSION = '3.4.0';
/** What a mirror holds, below the host of a registry. */
const MIRRORED = [
  { program: PROVIDER, path: 'terraform-provider-openstack/openstack', version: VERSION },
  { program: 'terraform-provider-external', path: 'hashicorp/external', version: '2.3.5' },
] as const;
const REGISTRIES = ['registry.terraform.io', 'registry.opentofu.org'] as const;
const TARGETS: Readonly<Record<string, string>> = { x64: 'linux_amd64', arm64: 'linux_arm64' };
const TIMEOUT_MS = 120_000;

/** A program that applies configurations. */
export interface TerraformProgram {
  readonly name: 'Terraform' | 'OpenTofu';
  readonly path: string;
}

function installedTerraform(): string | undefined {
  return SEARCH_PATH.split(':')
    .map((directory) => join(directory, 'terraform'))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false; // not here
      }
    });
}

/** Those that are here, Terraform first. */
export function terraformPrograms(): TerraformProgram[] {
  const path = installedTerraform();
  return [
    ...(path === undefined ? [] : [{ name: 'Terraform', path } as const]),
    ...(goProgramMissing('tofu') === false
      ? [{ name: 'OpenTofu', path: goProgram('tofu') } as const]
      : []),
  ];
}

/** False, or what is missing for configurations of OpenStack. */
export function terraformMissing(): string | false {
  if (installedTerraform() === undefined) return 'this test lacks terraform';
  return providersMissing();
}

/** The same, if OpenTofu will do as well. */
export function terraformOrTofuMissing(): string | false {
  if (terraformPrograms().length === 0) return 'this test lacks terraform and OpenTofu';
  return providersMissing() || goProgramMissing('terraform-provider-external');
}

function providersMissing(): string | false {
  if (TARGETS[process.arch] === undefined) return `no name for ${process.arch} in a mirror`;
  return goProgramMissing(PROVIDER);
}

/**
 * Makes a mirror of the providers in a directory, and settings that name it. Returns what the
 * program must have in its environment.
 */
export function mirrorProviders(directory: string): Record<string, string> {
  const mirror = join(directory, 'mirror');
  for (const registry of REGISTRIES) {
    for (const { program, path, version } of MIRRORED) {
      if (goProgramMissing(program) !== false) continue;
      const place = join(mirror, registry, path, version, TARGETS[process.arch] ?? '');
      mkdirSync(place, { recursive: true });
      symlinkSync(goProgram(program), join(place, `${program}_v${version}`));
    }
  }
  const settings = join(directory, 'terraformrc');
  writeFileSync(
    settings,
    `provider_installation {\n  filesystem_mirror {\n    path = "${mirror}"\n  }\n}\n`,
  );
  return { TF_CLI_CONFIG_FILE: settings, TF_IN_AUTOMATION: '1', CHECKPOINT_DISABLE: '1' };
}

export class Terraform {
  /** For configurations, each in a directory of its own. */
  readonly directory = mkdtempSync(join(tmpdir(), 'tunnel-terraform-'));
  readonly #environment: Readonly<Record<string, string>>;

  /** `environment` names the cloud. */
  constructor(environment: Readonly<Record<string, string>>) {
    this.#environment = {
      PATH: SEARCH_PATH,
      HOME: this.directory,
      ...mirrorProviders(this.directory),
      ...environment,
    };
  }

  run(where: string, ...args: readonly string[]): Promise<ExecResult> {
    const [command = '', ...more] = args;
    return run(['terraform', `-chdir=${where}`, command, '-no-color', ...more], {
      env: this.#environment,
      timeout: TIMEOUT_MS,
    });
  }

  /** Throws LabError unless its status is 0. Returns what it prints. */
  async must(where: string, ...args: readonly string[]): Promise<string> {
    const { status, stdout, stderr } = await this.run(where, ...args);
    if (status === 0) return stdout;
    throw new LabError('lab-command', `terraform ${args.join(' ')}: ${stderr}${stdout}`);
  }

  /** What `terraform output` has, by name. */
  async outputs(where: string): Promise<Readonly<Record<string, string>>> {
    const text = await this.must(where, 'output', '-json');
    const outputs = JSON.parse(text) as Record<string, { readonly value: string }>;
    return Object.fromEntries(Object.entries(outputs).map(([name, { value }]) => [name, value]));
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}
