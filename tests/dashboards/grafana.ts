// The types that a dashboard must have: Grafana's own, applied to JSON, in which an enum is its string. The test appends
// the dashboards as literals, so that a misspelt name is an error as well as a wrong type.
import type {
  AnnotationQuery, Dashboard, DashboardLink, DataQuery, FieldConfig, Panel, RowPanel, TableOptions, TableFieldOptions,
  VariableModel,
} from '@grafana/schema';
import type * as heatmap from '@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen';
import type * as stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as timeline
  from '@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen';
import type * as timeseries
  from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';
// The package exports these from its entry point only, which needs packages that are not installed.
import type { ReducerID } from './node_modules/@grafana/data/dist/types/transformations/fieldReducer';
import type { FieldMatcherID } from './node_modules/@grafana/data/dist/types/transformations/matchers/ids';
import type { DataLink } from './node_modules/@grafana/data/dist/types/types/dataLink';

// The schema has reducers as plain strings, wherever they stand: here they are those that Grafana knows.
type Json<T> = T extends string ? `${T}`
  : T extends number | boolean | null | undefined ? T
  : T extends object ? { [K in keyof T]: K extends 'calcs' ? `${ReducerID}`[] : Json<T[K]> }
  : T;

// Parts of the Prometheus data source's models that the schema package lacks.
interface PrometheusQuery extends DataQuery {
  editorMode: 'code' | 'builder';
  expr: string;
  format: 'time_series' | 'table' | 'heatmap';
  instant: boolean;
  legendFormat: string;
  range: boolean;
}
interface PrometheusAnnotation extends AnnotationQuery<DataQuery & { expr: string; interval: string }> {
  // What Grafana before 12.1 reads in place of the target.
  expr: string;
  step: string;
  tagKeys: string;
  textFormat: string;
  titleFormat: string;
  useValueForTime: boolean;
}

type Link = Pick<DataLink, 'oneClick' | 'targetBlank' | 'title' | 'url'>;
type Settings = Omit<FieldConfig, 'custom' | 'links'> & { links?: Link[] };
// What an override can set; the other settings of a field come from its data source.
type Overridable = Pick<Settings, 'color' | 'decimals' | 'displayName' | 'links' | 'mappings' | 'max' | 'min' | 'noValue'
  | 'thresholds' | 'unit'>;
type Properties<T, Prefix extends string = ''> = {
  [K in keyof T & string]-?: { id: `${Prefix}${K}`; value: NonNullable<T[K]> };
}[keyof T & string];
interface Override<Custom> {
  matcher: { id: FieldMatcherID; options: string };
  properties: (Properties<Overridable> | Properties<Custom, 'custom.'>)[];
}

interface TypedPanel<Type extends string, Options, Custom = Record<string, never>>
  extends Omit<Panel, 'fieldConfig' | 'options' | 'targets' | 'type'> {
  type: Type;
  options: Options;
  targets: PrometheusQuery[];
  fieldConfig: {
    defaults: Settings & { custom: Partial<Custom> };
    overrides: Override<Custom>[];
  };
}
type Optional<T, K extends keyof T> = Omit<T, K> & Partial<Pick<T, K>>;
type AnyPanel =
  | RowPanel
  | TypedPanel<'heatmap', heatmap.Options>
  | TypedPanel<'stat', Optional<stat.Options, 'percentChangeColorMode' | 'showPercentChange'>>
  | TypedPanel<'state-timeline', timeline.Options, timeline.FieldConfig>
  | TypedPanel<'table', TableOptions, TableFieldOptions>
  | TypedPanel<'timeseries', timeseries.Options, timeseries.FieldConfig>;

export type Classic = Json<Required<Pick<Dashboard, 'description' | 'editable' | 'graphTooltip' | 'refresh'
  | 'schemaVersion' | 'tags' | 'time' | 'timezone' | 'title' | 'uid' | 'version'>>
  & Pick<Dashboard, 'fiscalYearStartMonth' | 'liveNow' | 'timepicker' | 'weekStart'>> & {
  id: null;
  annotations: { list: Json<AnnotationQuery | PrometheusAnnotation>[] };
  links: Json<DashboardLink>[];
  panels: Json<AnyPanel>[];
  templating: { list: Json<VariableModel>[] };
};
