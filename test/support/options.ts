/** Options as tests write them, for code that reads options without a command line. */
import type { Entry } from '../../src/config/argsfile.ts';
import { DOCTOR_GROUPS } from '../../src/config/doctoroptions.ts';
import { EXEC_GROUPS } from '../../src/config/execoptions.ts';
import { JUMPHOST_GROUPS } from '../../src/config/jumphostoptions.ts';
import { OPENSTACK_GROUPS } from '../../src/config/openstackreport.ts';
import type { GivenArguments, GivenOptions, Option } from '../../src/config/option.ts';
import { CONNECT_GROUPS } from '../../src/config/options.ts';
import type { Place } from '../../src/net/place.ts';

/**
 * By the names in the option groups: for an option with a value its text, or all of its texts; for
 * an option without a value `true`, or how often it is given.
 */
export type OptionTexts = Readonly<Record<string, string | readonly string[] | true | number>>;

const OPTIONS: ReadonlyMap<string, Option> = new Map(
  [
    ...JUMPHOST_GROUPS,
    ...[...CONNECT_GROUPS, ...EXEC_GROUPS, ...DOCTOR_GROUPS, ...OPENSTACK_GROUPS],
  ].flatMap(({ options }) => Object.entries<Option>(options)),
);

const ARGUMENT: Place = { kind: 'argument', name: 'argument' };

/** `place`: where all options come from; by default the command line. */
export function given(
  texts: OptionTexts,
  operands: readonly string[] = [],
  place = ARGUMENT,
): GivenArguments {
  return {
    operands: operands.map((text) => ({ text, place })),
    options: givenOptions(texts, place),
  };
}

export function givenOptions(texts: OptionTexts, place = ARGUMENT): GivenOptions {
  const options = Object.entries(texts).map(([name, value]) => {
    const option = OPTIONS.get(name);
    if (option === undefined) throw new Error(`no group has an option ${name}`);
    return [option, textsOf(value).map((text): Entry => ({ text, place }))] as const;
  });
  return new Map(options);
}

function textsOf(value: OptionTexts[string]): readonly string[] {
  if (typeof value === 'string') return [value];
  if (value === true) return [''];
  return typeof value === 'number' ? Array<string>(value).fill('') : value;
}
