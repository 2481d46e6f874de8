/** The JSON schema of config.yaml, for editors: made of the options that there are. */
import { OWN_KEYS, PROFILE_KEYS, type ProfileKey, TUNNEL_COMMAND_NAMES } from './keys.ts';

type Schema = Readonly<Record<string, unknown>>;

/** Numbers may be written without quotes. */
const VALUE: Schema = { type: ['string', 'number'] };
const VALUES: Schema = { anyOf: [VALUE, { type: 'array', items: VALUE, minItems: 1 }] };
const NAME = '^(?![0-9]+$)[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}$';
const EMPTY: Schema = { type: 'null' };

/** Following JSON Schema draft-07, which all editors read. */
export function configSchema(): Schema {
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'Profiles of tunnel',
    type: 'object',
    additionalProperties: false,
    properties: {
      defaults: { anyOf: [{ $ref: '#/definitions/defaults' }, EMPTY] },
      profiles: {
        description: 'profiles, by name',
        anyOf: [
          {
            type: 'object',
            propertyNames: { pattern: NAME },
            additionalProperties: { anyOf: [{ $ref: '#/definitions/profile' }, EMPTY] },
          },
          EMPTY,
        ],
      },
    },
    definitions: {
      defaults: { ...mapping(false), description: 'below every profile of this file' },
      profile: mapping(true),
    },
  };
}

function mapping(isProfile: boolean): Schema {
  const keys = [...PROFILE_KEYS.values()];
  const own: Record<string, Schema> = {
    ...(isProfile ? { extends: { ...VALUES, description: OWN_KEYS.extends } } : {}),
    command: { enum: TUNNEL_COMMAND_NAMES, description: OWN_KEYS.command },
    without: {
      ...listOf({ enum: keys.map(({ name }) => name) }),
      description: OWN_KEYS.without,
    },
  };
  const options = Object.fromEntries(keys.map((key) => [key.name, optionSchema(key)]));
  return { type: 'object', additionalProperties: false, properties: { ...own, ...options } };
}

function listOf(item: Schema): Schema {
  return { anyOf: [item, { type: 'array', items: item, minItems: 1 }] };
}

function optionSchema({ kind, help, isFile }: ProfileKey): Schema {
  const relative = isFile ? '; a relative path begins at the directory of this file' : '';
  const description = `${help.replace(/ \(repeatable\)/, '')}${relative}`;
  switch (kind) {
    case 'switch':
      return { type: 'boolean', description };
    case 'counted':
      return {
        anyOf: [{ type: 'boolean' }, { type: 'integer', minimum: 0, maximum: 9 }],
        description,
      };
    case 'once':
      return { ...VALUE, description };
    case 'repeated':
      return { ...VALUES, description };
  }
}
