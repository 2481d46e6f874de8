/**
 * `tunnel jumphost`: renders a jump host from an allow-list.
 *
 *   the list from the command line and files  ─┐
 *   endpoints of a cloud, fetched through -r   ─┴─► permitted.ts ─► the format's renderer ─► files
 *
 * Nobody is asked for anything, except for a catalog and for the keys of an agent. What is rendered
 * depends on the arguments and these answers alone. The sshd of this machine, if there is one,
 * reads a drop-in before it is printed (sshdcheck.ts).
 */
import type { JumpHostConfiguration, JumpHostFormat } from '../config/jumphostoptions.ts';
import { renderAuthorizedKey } from '../jumphost/authorizedkey.ts';
import { cloudInitWarnings, renderCloudInit } from '../jumphost/cloudinit.ts';
import { renderKeysCommand } from '../jumphost/keyscommand.ts';
import { printKubernetes, renderKubernetes } from '../jumphost/kubernetes/render.ts';
import { printable, writeFiles } from '../jumphost/output.ts';
import { formatPermitted, permittedDestinations } from '../jumphost/permitted.ts';
import type { JumpHostPlan, RenderedFile } from '../jumphost/plan.ts';
import { renderSshd } from '../jumphost/sshd.ts';
import { renderTerraform } from '../jumphost/terraform.ts';
import type { Observer } from '../observe/observer.ts';
import type { CloudRules } from '../openstack/targets/rules.ts';
import { agentKeys } from './agentkeys.ts';
import { linux } from './machine.ts';
import { inSession } from './session.ts';
import { checkDropIn } from './sshdcheck.ts';
import { secretsFrom } from './targets.ts';
import type { RunOptions } from './tunnel.ts';

const RENDERERS: Readonly<Record<JumpHostFormat, (plan: JumpHostPlan) => RenderedFile[]>> = {
  sshd: renderSshd,
  'authorized-key': renderAuthorizedKey,
  'keys-command': renderKeysCommand,
  'cloud-init': renderCloudInit,
  terraform: renderTerraform,
  kubernetes: renderKubernetes,
};
/** Formats that are printed otherwise than as the files one after the other. */
const PRINTERS: Readonly<Partial<Record<JumpHostFormat, (plan: JumpHostPlan) => string>>> = {
  kubernetes: printKubernetes,
};

/** Their sshd has the drop-in as `sshd` renders it. */
const DROP_INS: readonly JumpHostFormat[] = ['sshd', 'cloud-init', 'terraform'];

/**
 * Resolves with what is to be printed: the files, or nothing where they were written. Rejects with
 * TunnelError, or with the reason of `stop`.
 */
export async function renderJumpHost(
  configuration: JumpHostConfiguration,
  options: Omit<RunOptions, 'learned'>,
): Promise<string> {
  const { format, plan, targets, nameTargets, output } = configuration;
  const cloud = await cloudRulesOf(configuration, options);
  const permitted = permittedDestinations(
    [...targets, ...(cloud?.targets ?? [])],
    [...nameTargets, ...(cloud?.nameTargets ?? [])],
  );
  warnOfPlainSources(plan, options.observer);
  warnOfMetadata(permitted, options.observer);
  const agent = configuration.agentKeys ? await agentKeys(options.observer) : [];
  const whole = { ...plan, permitted, keys: withoutRepetition([...plan.keys, ...agent]) };
  const files = RENDERERS[format](whole);
  if (DROP_INS.includes(format)) await checkDropIn(whole, options.observer);
  for (const warning of warningsOf(format, plan, files)) options.observer.log('warning', warning);
  if (output === undefined && plan.cloudInit.hostKey !== undefined) {
    const hint = 'write it with --output, into files that only you can read';
    options.observer.log(
      'warning',
      `--host-private-key: what is printed has the key in it; ${hint}`,
    );
  }
  if (output !== undefined) {
    writeFiles(output, files);
    options.observer.log('notice', written(output, files));
    return '';
  }
  const printer = PRINTERS[format];
  if (printer === undefined && files.length > 1)
    options.observer.log(
      'notice',
      `these are ${files.length} files, one after the other: --output DIRECTORY writes each by itself`,
    );
  return printer?.(whole) ?? printable(files);
}

/** Renderers put the file first whose comment has the steps of all. */
function written(output: string, files: readonly RenderedFile[]): string {
  const names = files.map(({ path }) => path).join(', ');
  const comment = files.length === 1 ? 'its comment' : 'the comment of the first';
  return `${output} has ${names}; ${comment} says how to go on`;
}

/** Of IPv4's link-local addresses; listed by mistake maybe, with others of a client's list. */
function warnOfMetadata(permitted: JumpHostPlan['permitted'], observer: Observer): void {
  const listed = permitted.filter(({ host }) => host.startsWith('169.254.')).map(formatPermitted);
  if (listed.length === 0) return;
  const what = 'the metadata of the jump host there: its user-data, in some clouds credentials';
  observer.log('warning', `${listed.join(', ')}: users can read ${what}`);
}

function warningsOf(
  format: JumpHostFormat,
  plan: Pick<JumpHostPlan, 'cloudInit'>,
  files: readonly RenderedFile[],
): string[] {
  if (format === 'cloud-init') return cloudInitWarnings(plan, files);
  // It is for OpenStack alone, so the limits of other clouds are nothing to it.
  return format === 'terraform' ? cloudInitWarnings(plan, []) : [];
}

/** What comes without TLS can be changed on its way, and these are keys that open a door. */
function warnOfPlainSources(
  { keysFrom }: Pick<JumpHostPlan, 'keysFrom'>,
  observer: Observer,
): void {
  for (const source of keysFrom) {
    if (source.kind !== 'url' || !source.url.startsWith('http:')) continue;
    observer.log(
      'warning',
      `--keys-from ${source.url}: whoever is on the way there can add keys; https:// prevents that`,
    );
  }
}

/** The same key with another comment is the same key. */
function withoutRepetition(keys: readonly string[]): string[] {
  const seen = new Set<string>();
  return keys.filter((key) => {
    const [, base64 = ''] = key.split(' ');
    return !seen.has(base64) && seen.add(base64);
  });
}

async function cloudRulesOf(
  { openstack, ssh }: JumpHostConfiguration,
  options: Omit<RunOptions, 'learned'>,
): Promise<CloudRules | undefined> {
  if (openstack === undefined) return undefined;
  const { observer, prompter, machine = linux } = options;
  const { cloudRules, loadConfiguredCloud } = await import('../openstack/targets/cloud.ts');
  const cloud = loadConfiguredCloud(openstack, observer);
  return inSession(options, async (session) => {
    const { signal } = session;
    if (ssh === undefined) {
      const connect = () => Promise.reject(new TypeError('this catalog asks nobody'));
      return cloudRules(cloud, { connect, observer, signal });
    }
    const dialler = machine.dialler({ ssh, prompter, observer });
    const transport = session.own(
      'the SSH connection',
      await dialler.dial(await dialler.locate(signal), signal),
      (it) => it.close(),
    );
    session.endsWith(transport.ended);
    const connect = transport.connect.bind(transport);
    const ask = secretsFrom(prompter, signal);
    return session.within(cloudRules(cloud, { connect, observer, signal, ask }));
  });
}
