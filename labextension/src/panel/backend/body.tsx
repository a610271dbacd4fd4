/** Where jobs run: the choice, its health, its settings, and a test. */

import type { ITranslator, TranslationBundle } from '@jupyterlab/translation';
import { FormComponent, UseSignal } from '@jupyterlab/ui-components';
import type { ReadonlyJSONObject } from '@lumino/coreutils';
import type { ErrorSchema, RJSFSchema, ValidatorType } from '@rjsf/utils';

import type { IBackend, IHealth, ITrial } from '../../api/types';
import * as format from '../../format';
import { Action, Problem, Section } from '../parts';
import type { BackendModel } from './model';

interface IBackendProps {
  model: BackendModel;
  trans: TranslationBundle;
  translator: ITranslator;
}

export function Backend(props: IBackendProps): JSX.Element {
  return (
    <UseSignal signal={props.model.changed}>{() => <BackendBody {...props} />}</UseSignal>
  );
}

function BackendBody({ model, trans, translator }: IBackendProps): JSX.Element {
  const { shown } = model;
  return (
    <>
      <fieldset className="cb-Choice">
        <legend>{trans.__('Where jobs run')}</legend>
        {model.backends.map(backend => (
          <Choice
            key={backend.name}
            backend={backend}
            isShown={backend === shown}
            onShow={() => void model.show(backend.name)}
            trans={trans}
          />
        ))}
      </fieldset>
      <Problem text={model.problem} />
      {shown !== null && (
        <>
          {shown.problem !== null && <p className="cb-Warning">{shown.problem}</p>}
          <div className="cb-Actions">
            {!shown.in_use && (
              <Action
                primary
                label={trans.__('Use it')}
                title={trans.__('For all notebooks that do not say otherwise')}
                disabled={!shown.available || model.task !== null}
                onClick={() => void model.use()}
              />
            )}
            <Action
              label={model.task === 'test' ? trans.__('Testing …') : trans.__('Test it')}
              title={
                shown.costs
                  ? trans.__('Runs two items there; costs less than a cent')
                  : trans.__('Runs two items there')
              }
              disabled={model.task !== null}
              onClick={() => void model.test()}
            />
          </div>
          {model.trial !== null && <Trial trial={model.trial} trans={trans} />}
          <Section title={trans.__('Health')} open key={`health ${shown.name}`}>
            <Problem text={model.healthProblem} />
            {model.healthProblem === null && (
              <Health health={model.health} trans={trans} />
            )}
          </Section>
          {Object.keys(propertiesOf(shown)).length > 0 && (
            <Section title={trans.__('Settings')} open key={`settings ${shown.name}`}>
              <Settings
                model={model}
                backend={shown}
                trans={trans}
                translator={translator}
              />
            </Section>
          )}
        </>
      )}
    </>
  );
}

interface IChoiceProps {
  backend: IBackend;
  isShown: boolean;
  onShow: () => void;
  trans: TranslationBundle;
}

function Choice({ backend, isShown, onShow, trans }: IChoiceProps): JSX.Element {
  return (
    <label className="cb-Choice-item" data-shown={isShown || undefined}>
      <input type="radio" name="cb-backend" checked={isShown} onChange={onShow} />
      <span className="cb-Choice-title">{backend.title}</span>
      {backend.in_use && <span className="cb-Tag">{trans.__('in use')}</span>}
      {!backend.available && <span className="cb-Tag">{trans.__('not available')}</span>}
      <span className="cb-Choice-description">{backend.description}</span>
    </label>
  );
}

function Trial({
  trial,
  trans
}: {
  trial: ITrial;
  trans: TranslationBundle;
}): JSX.Element {
  return (
    <div className="cb-Trial" role="status" data-ok={trial.ok}>
      <p>{trial.message}</p>
      <table className="cb-Table" aria-label={trans.__('Steps of the test')}>
        <tbody>
          {trial.steps.map(step => (
            <tr key={step.name}>
              <th scope="row">{step.name}</th>
              <td>{format.duration(step.seconds, trans)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

interface IHealthProps {
  health: IHealth | null;
  trans: TranslationBundle;
}

function Health({ health, trans }: IHealthProps): JSX.Element {
  if (health === null) {
    return <p className="cb-Hint">{trans.__('Looking …')}</p>;
  }
  const marks = {
    ok: ['✓', trans.__('good')],
    warning: ['!', trans.__('to be looked at')],
    problem: ['✗', trans.__('not good')]
  };
  return (
    <ul className="cb-Health">
      {health.lines.map(line => (
        <li key={line.name} data-status={line.status}>
          <span className="cb-Health-mark" role="img" aria-label={marks[line.status][1]}>
            {marks[line.status][0]}
          </span>
          <span className="cb-Health-name">{line.name}</span>
          <span className="cb-Health-detail">{line.detail}</span>
        </li>
      ))}
    </ul>
  );
}

function Settings(props: IBackendProps & { backend: IBackend }): JSX.Element {
  const { model, backend, trans, translator } = props;
  const unsaved = Object.keys(model.unsaved).length;
  return (
    <form
      className="cb-Form"
      onSubmit={event => {
        event.preventDefault();
        void model.save();
      }}
    >
      <FormComponent
        tagName="div"
        schema={backend.schema as RJSFSchema}
        validator={SERVER_DECIDES}
        formData={model.edited as ReadonlyJSONObject}
        extraErrors={asErrors(model.problems)}
        showErrorList={false}
        onChange={event => model.edit((event.formData ?? {}) as ReadonlyJSONObject)}
        idPrefix={`cb-${backend.name}`}
        compact
        showModifiedFromDefault={false}
        translator={translator}
      />
      <div className="cb-Actions">
        <Action
          primary
          label={model.task === 'save' ? trans.__('Saving …') : trans.__('Save')}
          disabled={unsaved === 0 || model.task !== null}
          onClick={() => void model.save()}
        />
        <Action
          label={trans.__('Revert')}
          disabled={unsaved === 0}
          onClick={() => model.revert()}
        />
      </div>
    </form>
  );
}

function propertiesOf(backend: IBackend): Readonly<Record<string, unknown>> {
  return (backend.schema.properties ?? {}) as Readonly<Record<string, unknown>>;
}

/**
 * The form does not judge: the server does when settings are saved, with the rules that hold for files
 * and variables too, and says what is wrong with which one.
 */
const SERVER_DECIDES: ValidatorType<ReadonlyJSONObject, RJSFSchema> = {
  validateFormData: () => ({ errors: [], errorSchema: {} }),
  isValid: () => true,
  rawValidation: () => ({}),
  toErrorList: () => []
};

function asErrors(
  problems: Readonly<Record<string, string>>
): ErrorSchema<ReadonlyJSONObject> {
  return Object.fromEntries(
    Object.entries(problems).map(([name, text]) => [name, { __errors: [text] }])
  ) as ErrorSchema<ReadonlyJSONObject>;
}
