//! One declaration per metric: the instrument, its name, unit, attributes and meaning cannot drift apart.

macro_rules! metric_table {
    ($($(#[doc = $doc:literal])+ $field:ident: $kind:ident, $name:literal, $unit:literal, [$($attribute:literal),*] $(, $boundaries:expr)?;)+) => {
        /// All instruments of Holdfast. Attributes have few values: never a job or a resource.
        #[derive(Debug)]
        pub struct Metrics {
            $($(#[doc = $doc])+
            #[doc = ""]
            #[doc = concat!("`", $name, "`, in `", $unit, "`.")]
            pub $field: metric_table!(@type $kind),)+
        }

        /// What `docs/reference/metrics.md` is made from.
        pub const METRICS: &[MetricInfo] = &[$(MetricInfo {
            name: $name,
            kind: metric_table!(@kind $kind),
            unit: $unit,
            attributes: &[$($attribute),*],
            description: concat!($($doc),+),
        }),+];

        impl Metrics {
            fn new(meter: &opentelemetry::metrics::Meter) -> Self {
                Self {
                    $($field: {
                        let builder = metric_table!(@build $kind, meter, $name)
                            .with_unit($unit)
                            .with_description(concat!($($doc),+).trim());
                        $(let builder = builder.with_boundaries($boundaries.to_vec());)?
                        builder.build()
                    },)+
                }
            }
        }
    };
    (@type counter) => { opentelemetry::metrics::Counter<u64> };
    (@type up_down_counter) => { opentelemetry::metrics::UpDownCounter<i64> };
    (@type histogram) => { opentelemetry::metrics::Histogram<f64> };
    (@type gauge) => { opentelemetry::metrics::Gauge<u64> };
    (@kind counter) => { MetricKind::Counter };
    (@kind up_down_counter) => { MetricKind::UpDownCounter };
    (@kind histogram) => { MetricKind::Histogram };
    (@kind gauge) => { MetricKind::Gauge };
    (@build counter, $meter:ident, $name:literal) => { $meter.u64_counter($name) };
    (@build up_down_counter, $meter:ident, $name:literal) => { $meter.i64_up_down_counter($name) };
    (@build histogram, $meter:ident, $name:literal) => { $meter.f64_histogram($name) };
    (@build gauge, $meter:ident, $name:literal) => { $meter.u64_gauge($name) };
}
pub(crate) use metric_table;
