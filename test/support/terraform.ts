/**
 * Terraform with its provider for OpenStack, from a mirror on this machine, as for somebody without
 * the registry. Both are run as users run them: init, plan, apply, destroy.
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
const SOURCE = 'registry.terraform.io/terraform-provider-openstack/openstack';
const TARGETS: Readonly<Record<string, string>> = { x64: 'linux_amd64', arm64: 'linux_arm64' };
const TIMEOUT_MS = 120_000;

/** False, or what is missing. */
export function terraformMissing(): string | false {
  const installed = SEARCH_PATH.split(':').some((directory) => {
    try {
      accessSync(join(directory, 'terraform'), constants.X_OK);
      return true;
    } catch {
      return false; // not here
    }
  });
  if (!installed) return 'this test lacks terraform';
  if (TARGETS[process.arch] === undefined) return `no name for ${process.arch} in a mirror`;
  return goProgramMissing(PROVIDER);
}

export class Terraform {
  /** For configurations, each in a directory of its own. */
  readonly directory = mkdtempSync(join(tmpdir(), 'tunnel-terraform-'));
  readonly #environment: Readonly<Record<string, string>>;

  /** `environment` names the cloud. */
  constructor(environment: Readonly<Record<string, string>>) {
    const mirror = join(this.directory, 'mirror');
    const place = join(mirror, SOURCE, VERSION, TARGETS[process.arch] ?? '');
    mkdirSync(place, { recursive: true });
    symlinkSync(goProgram(PROVIDER), join(place, `${PROVIDER}_v${VERSION}`));
    const settings = join(this.directory, 'terraformrc');
    writeFileSync(
      settings,
      `provider_installation {\n  filesystem_mirror {\n    path = "${mirror}"\n  }\n}\n`,
    );
    this.#environment = {
      PATH: SEARCH_PATH,
      HOME: this.directory,
      TF_CLI_CONFIG_FILE: settings,
      TF_IN_AUTOMATION: '1',
      CHECKPOINT_DISABLE: '1',
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
