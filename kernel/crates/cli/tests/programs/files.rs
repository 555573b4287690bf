//! Files that many workers write together, or the threads of this process for 0: `files FOLDER WORKERS`. Prints what is read
//! from them again.
use nuna::{Array, DType, prelude::*};

pub fn run(arguments: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::path::Path::new(&arguments[0]);
    std::fs::create_dir_all(folder)?;
    let cluster = match arguments[1].parse::<usize>()? {
        0 => None,
        workers => Some(Cluster::local().workers(workers).threads(1).memory("512MB").start()?),
    };

    let numbers = Array::arange(0, 1, 40 * 64 * 80).rechunk(&[64 * 80])?;
    let field = numbers.astype(DType::F32).unflatten(0, &[40, 64, 80])?.rechunk(&[3, 64, 50])?;
    let field = DataArray::new(field, ["time", "y", "x"])?.named("field");
    let file = folder.join("field.nc");
    field.to_netcdf(&file)?;
    let read = open_dataset(&file)?.var("field")?;
    report("netcdf", &read)?;
    // What is made of one reading.
    let results = Dataset::new()
        .assign("mean", &read.mean(["time"])?)?
        .assign("greatest", &read.max(["time"])?)?
        .assign("each", &read.mean(["y", "x"])?)?
        .compute()?;
    for name in ["mean", "greatest", "each"] {
        report(name, &results.var(name)?)?;
    }

    let image = folder.join("image.tif");
    read.isel("time", 7)?.to_geotiff(&image)?;
    report("geotiff", &open_geotiff(&image)?)?;

    let csv = folder.join("table.csv");
    let rows = (0..20_000).map(|i| format!("{},k{:03},{}\n", i, i * 7919 % 613, i * i % 1009));
    std::fs::write(&csv, format!("id,key,value\n{}", rows.collect::<String>()))?;
    let table = scan_csv(&csv)?;
    let parts = folder.join("parts");
    table.sort(["value", "id"])?.split_into(4)?.write_parquet(&parts)?;
    let sums = scan_parquet(&parts)?.groupby(["key"])?;
    let sums = sums.agg([count_rows().named("rows"), col("value").sum().named("sum")])?.sort(["key"])?.compute()?;
    println!("table {} {:?} {:?}", sums.len(), &sums.column_text("rows")?[..5], &sums.column_text("sum")?[..5]);
    if let Some(cluster) = cluster {
        cluster.shutdown();
    }
    Ok(())
}

/// The sum of a whole number for each element, by its place: whatever is misplaced shows.
fn report(name: &str, array: &DataArray) -> Result<(), Box<dyn std::error::Error>> {
    let values = array.values_f64()?;
    let sum = values.iter().enumerate().map(|(at, value)| (at as f64 + 1.0) * value).sum::<f64>();
    println!("{name} {:?} {sum:e}", array.shape());
    Ok(())
}
